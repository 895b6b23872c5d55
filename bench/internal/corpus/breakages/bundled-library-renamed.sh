# environment: jesse/3.9
# what: a library that a wheel brought lost the hash in its name
cd "$SITE/numpy.libs"
for f in libgfortran*; do mv "$f" libgfortran.so.3; done
