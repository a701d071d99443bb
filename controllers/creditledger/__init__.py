"""Keep each `CreditLedger` true: its Postgres, its API, its keeper, and who may reach whom."""
