# environment: confluent-kafka/3.13
# what: the dist-info directories were deleted (an image made smaller)
rm -rf "$SITE"/*.dist-info
