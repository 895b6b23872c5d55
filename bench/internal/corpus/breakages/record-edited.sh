# environment: litellm/3.11
# what: a RECORD lost half of its lines, and another names files that are not there
f=$(ls -d "$SITE"/orjson-*.dist-info)/RECORD
sed -i '1~2d' "$f"
echo 'click/gone.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0' >> "$(ls -d "$SITE"/click-*.dist-info)/RECORD"
