//! Counters, histograms, the access log's records and their formats.
