# environment: edx/3.11
# what: the directory of an editable install was deleted
mkdir -p /srv/src/shop/shop
printf '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "shop"\nversion = "1.0"\n[project.scripts]\nshop = "shop:main"\n' > /srv/src/shop/pyproject.toml
printf 'def main():\n    print("shop")\n' > /srv/src/shop/shop/__init__.py
pip install --quiet -e /srv/src/shop
rm -rf /srv/src
