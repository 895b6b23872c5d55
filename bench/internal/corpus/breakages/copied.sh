# environment: starlette/3.13
# what: the environment was copied, and the first one is still there
# now: /srv/copy
cp -a "$ENV" /srv/copy
