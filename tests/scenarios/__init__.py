"""What an experiment makes of six kinds of challenger, on a cluster, under traffic; with a table.

Each shop serves real requests that its own customers send through a Service; errors and latencies
are drawn by chance, and both are guarded. Nothing here knows how the rule works: whether a story
ended well is told by the phase, by the record, and by who answered the customers when.
"""
