# environment: red-discordbot/3.9
# what: a wheel of another minor version was unpacked over the fitting one
rm -rf "$SITE"/yarl*
pip download --quiet --no-deps --only-binary :all: --python-version 3.12 --implementation cp --dest /tmp/w yarl==1.15.2
python -m zipfile -e /tmp/w/yarl-*.whl "$SITE"
rm -rf /tmp/w
