# environment: confluent-kafka/3.11
# what: the native half of a pair was upgraded without the other (pip install --no-deps)
pip install --quiet --no-deps pydantic-core==2.27.2
