-- name: accounts
-- Accounts by id, their overdue holds taken off, as of the database's clock.
select
    a.id,
    a.state,
    a.floor,
    a.metadata::text as metadata,
    a.balance,
    a.version,
    a.held - case when a.next_expiry <= clock_microseconds() then coalesce((
        select sum(h.remaining) from holds as h
        where h.account = a.id and h.state = 'held' and h.expires_at <= clock_microseconds()
    ), 0)::bigint else 0 end as held,
    clock_microseconds() as as_of
from accounts as a
where a.id = any($1);

-- name: transfer
-- One transfer by its number.
select
    t.*,
    t.metadata::text as metadata_text
from transfers as t
where t.seq = $1;

-- name: transfer_by_reference
-- The transfer that carries a caller's own reference.
select
    t.*,
    t.metadata::text as metadata_text
from transfers as t
where t.reference = $1;

-- name: entries
-- Movements of an account below a number, newest first: one page of each side, then the newest of both.
select t.*
from (
    (
        select d.* from transfers as d
        where d.debit = $1 and d.seq < $2
        order by d.seq desc limit $3
    )
    union all
    (
        select c.* from transfers as c
        where c.credit = $1 and c.seq < $2
        order by c.seq desc limit $3
    )
) as t
order by t.seq desc
limit $3;

-- name: hold
-- One hold, expired from its moment on.
select
    h.*,
    h.metadata::text as metadata_text,
    h.state = 'held' and h.expires_at <= clock_microseconds() as overdue
from holds as h
where h.id = $1;

-- name: holds
-- Holds of an account below a number, newest first, of one state if asked.
select
    h.*,
    h.metadata::text as metadata_text,
    s.overdue
from holds as h
cross join
    lateral (
        select h.state = 'held' and h.expires_at <= clock_microseconds() as overdue
    ) as s
where
    h.account = $1
    and h.opened < $2
    and ($4::text is null or $4 = case when s.overdue then 'expired' else h.state end)
order by h.opened desc
limit $3;

-- name: parties_of_transfer
select array[t.debit, t.credit] as parties
from transfers as t
where t.seq = $1;

-- name: parties_of_hold
select array[h.account, h."to"] as parties
from holds as h
where h.id = $1;

-- name: due_holds
-- Holds that have expired and that nobody has settled yet, the oldest first.
select h.id
from holds as h
where h.state = 'held' and h.expires_at <= clock_microseconds()
order by h.expires_at
limit $1;

-- name: status
-- How far the chain has got.
select
    h.position,
    h.seq,
    encode(h.hash, 'hex') as hash,
    clock_microseconds() as time,
    (
        select count(*) from holds as o
        where o.state = 'held'
    ) as open_holds,
    (select max(m.number) from migrations as m) as schema_version
from head as h;
