# environment: urh/3.13
# what: a package of the system was removed that a GUI library needs (libgl1)
apt-get purge -qq -y --autoremove libgl1 libegl1 >/dev/null
