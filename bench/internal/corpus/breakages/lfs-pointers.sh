# environment: vnpy/3.11
# what: the environment is in a Git repository with LFS, and was checked out without it
for f in "$SITE"/zmq/backend/cython/*.so "$SITE"/matplotlib/ft2font*.so; do
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize %d\n' 7 "$(stat -c %s "$f")" > /tmp/p
  cat /tmp/p > "$f"
done
