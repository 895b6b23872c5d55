# environment: geopandas/3.9
# what: the directory with a wheel's libraries was not copied (only directories that are packages were)
rm -rf "$SITE"/pyproj.libs "$SITE"/pyproj/.libs "$SITE"/shapely.libs
