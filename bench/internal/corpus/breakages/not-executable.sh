# environment: mediacrawler/3.11
# what: the programs lost their executable bit (unpacked from a zip)
chmod a-x "$ENV"/bin/*
