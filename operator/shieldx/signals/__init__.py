"""What is read from the outside world about two versions, and how it becomes evidence.

A source reads raw counters per pod (`readings`, `pods`), a recorder turns two readings into a
closed bucket of counts (`buckets`), and `baseline` remembers the champion's past. Absence is
never a number here: no traffic, no answer and nonsense are states with reasons.
"""
