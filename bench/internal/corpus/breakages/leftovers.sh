# environment: librosa/3.11
# what: an upgrade was interrupted: pip's ~ directories are left, nothing else is wrong
cp -a "$SITE/soundfile.py" "$SITE/~oundfile.py"
cp -a "$SITE/numba" "$SITE/~umba"
cp -a "$(ls -d "$SITE"/numba-*.dist-info)" "$SITE/$(basename "$(ls -d "$SITE"/numba-*.dist-info)" | sed 's/^n/~/')"
