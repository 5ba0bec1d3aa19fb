"""Statistics of a cache, shown: as a table, as a page, as JSON and for Prometheus."""
