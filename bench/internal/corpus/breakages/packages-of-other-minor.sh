# environment: salt/3.9
# what: the packages of one minor version were moved below the lib/pythonX.Y of another, whose interpreter runs them
mv "$ENV/lib/python3.9" "$ENV/lib/python3.11"
for name in python python3; do ln -sf /root/.pyenv/versions/3.11.7/bin/python3 "$ENV/bin/$name"; done
sed -i 's/3\.9\.18/3.11.7/g' "$ENV/pyvenv.cfg"
