# environment: z2jh/3.11
# what: the interpreter was upgraded and its directory has another name now
mv "$BASE" "${BASE%.*}.9"
