# environment: scikit-image/3.11
# what: one library that a wheel brought is deleted
rm "$SITE"/pillow.libs/libjpeg*
