# environment: socorro/3.11
# what: the environment's python leads to another minor version, and its packages stay where they were
ln -sf "$OTHER/bin/python3" "$ENV/bin/python3"
ln -sf python3 "$ENV/bin/python"
