# environment: scanpy/3.11
# what: numpy is older than the one that others were built with
pip install --quiet --no-deps numpy==1.23.5
