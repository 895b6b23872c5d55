# environment: netbox/3.13
# what: a wheel for musl was installed on a machine with glibc (copied from an Alpine image)
rm -rf "$SITE"/nh3* "$SITE"/PIL "$SITE"/pillow*
pip install --quiet --no-deps --only-binary :all: --platform musllinux_1_2_x86_64 --target "$SITE" nh3 pillow
