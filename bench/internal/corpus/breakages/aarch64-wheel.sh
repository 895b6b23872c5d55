# environment: home-assistant/3.13
# what: wheels for another processor were installed (an environment put together on a developer's machine)
rm -rf "$SITE"/orjson* "$SITE"/bcrypt*
pip install --quiet --no-deps --only-binary :all: --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_34_aarch64 --target "$SITE" orjson bcrypt
