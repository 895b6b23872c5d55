# environment: odoo/3.13
# what: a package of the system was removed that a driver loads by its name when it is imported (libpq5)
apt-get purge -qq -y --autoremove libpq5 >/dev/null
