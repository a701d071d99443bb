"""The sidecar as it is injected beside an app: the ledger's API on 127.0.0.1, without a database.

A request enters at `front`, becomes an item where it can travel with others (`items`), waits in
the one relay of the ledger (`shieldx.ledger.relay`), is carried to the API (`carriers`,
`upstream`), and is answered as the API would have answered it alone, byte for byte.
"""
