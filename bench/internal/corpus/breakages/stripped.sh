# environment: paperless/3.9
# what: an image was made smaller by strip, over everything
apt-get update -qq && apt-get install -qq -y --no-install-recommends binutils >/dev/null
find "$SITE" -name '*.so*' -type f | xargs -r strip --strip-unneeded 2>/dev/null || true
apt-get purge -qq -y --autoremove binutils >/dev/null
