# environment: pandas-dev/3.11
# what: native modules are links into a store that is gone
mkdir -p /srv/store
for f in "$SITE"/numexpr/*.so "$SITE"/bottleneck/*.so; do mv "$f" /srv/store/; ln -s "/srv/store/$(basename "$f")" "$f"; done
rm -rf /srv/store
