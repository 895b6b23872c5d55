# environment: superset/3.11
# what: scripts were checked out with Windows' line ends
for f in gunicorn flask; do sed -i 's/$/\r/' "$ENV/bin/$f"; done
