"""The objects of a ledger, one pure function each; all of them are applied on every pass."""

from collections.abc import Iterator

from controllers.creditledger.manifests import postgres, programs
from controllers.creditledger.manifests.owner import API, KEEPER, Manifest, Owner, Settings
from controllers.creditledger.manifests.postgres import postgres_secret
from controllers.creditledger.manifests.programs import receipt_keys
from shieldx.resources.creditledger import CreditLedgerSpec

__all__ = ["Manifest", "Owner", "Settings", "objects", "postgres_secret", "receipt_keys"]


def objects(owner: Owner, spec: CreditLedgerSpec, settings: Settings) -> Iterator[Manifest]:
    """Yield every object of the ledger, those first that others need; passwords apart."""
    for shard in spec.shards:
        yield postgres.postgres_service(owner, shard)
        yield postgres.postgres_network_policy(owner, shard)
        yield postgres.postgres_disruption_budget(owner, shard)
        yield postgres.postgres(owner, shard, settings)
    yield programs.config_map(owner, spec)
    yield programs.token_review_binding(owner)
    for component, name in ((API, owner.names.api), (KEEPER, owner.names.keeper)):
        yield programs.service_account(owner, name, component)
        yield programs.http_service(owner, name, component)
    yield programs.api_network_policy(owner, spec)
    yield programs.keeper_network_policy(owner, spec, settings)
    yield programs.api_disruption_budget(owner)
    yield programs.api(owner, spec, settings)
    yield programs.keeper(owner, spec, settings)
