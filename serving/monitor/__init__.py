"""The watcher of what is served: it raises an alarm when rows are no longer those that the certificate promised.

view        rows as numbers: features for a classifier, kinds of rows that are counted, and keys
processes   sequential tests whose false alarms are rare by construction
detectors   three of them: a classifier against fresh rows, kinds of rows that vanish, rows that repeat
trends      what people look at: coverage, rare categories, entropy, each against its baseline
watch       a release under watch: rows come in, an alarm comes out, with what went missing
"""
