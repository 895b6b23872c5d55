# environment: volatility3/3.13
# what: a wheel for an interpreter without a GIL was installed for one with a GIL
pip install --quiet --no-deps --only-binary :all: --abi cp313t --python-version 3.13 --implementation cp --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --target "$SITE" MarkupSafe
