# environment: volatility3/3.11
# what: pyvenv.cfg was not copied
rm "$ENV/pyvenv.cfg"
