# environment: python-telegram-bot/3.9
# what: a file system without case wrote names in small letters
for d in PIL OpenSSL bs4; do [ ! -d "$SITE/$d" ] || mv "$SITE/$d" "$SITE/$(echo $d | tr A-Z a-z)-"; done
for f in "$SITE"/*.so "$SITE"/*/*.so; do g=$(dirname "$f")/$(basename "$f" | tr a-z A-Z); mv "$f" "$g"; done
