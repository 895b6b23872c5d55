# environment: starlette/3.11
# what: the environment was moved to another directory
# now: /srv/app
mv "$ENV" /srv/app
