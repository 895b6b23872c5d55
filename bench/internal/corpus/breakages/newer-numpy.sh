# environment: frigate/3.9
# what: numpy 2 below modules that were built with numpy 1
pip install --quiet --no-deps numpy==2.0.2
