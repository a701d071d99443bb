"""Crash campaigns against the ledger: outside load, real kills, and a judge that trusts nobody.

load       a process of its own: customers who write every key down before they send it
programs   the API, the keeper and a rival writer, as processes that can be killed
world      Postgres, databases and processes, and what can be done to them
judge      after each campaign: is every acknowledged write there once, is anything else there
history    are the histories of the accounts linearizable
campaigns  what goes wrong, when
harms      the same, done to the database's surroundings
deployment three API processes, one of them the writer, and a keeper
deployed   what befalls them
report     the figures, for people
"""
