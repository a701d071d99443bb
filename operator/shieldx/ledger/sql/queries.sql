-- name: accounts
-- Accounts by id, and whether time has changed something about them that nobody has settled yet.
select
    a.id,
    a.state,
    a.floor,
    a.metadata::text as metadata,
    a.balance,
    a.held,
    a.version,
    a.alert,
    clock.now as as_of,
    coalesce(a.next_due <= clock.now, false) as overdue
from accounts as a
cross join shard_time() as clock (now)
where a.id = any($1);

-- name: settled
-- What settling accounts takes, as of a moment.
select load($1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', $2) as said;

-- name: grants
-- Grants of an account below a number, newest first, of one state if asked; states are those of a moment.
select
    g.id,
    g.account,
    g.amount,
    g.remaining,
    g.held,
    g.priority,
    g.effective_at,
    g.expires_at,
    g.created,
    g.metadata::text as metadata_text,
    by_time.state
from grants as g
cross join
    lateral (
        select
            case
                when g.state in ('pending', 'active') and g.expires_at <= $5 then 'expired'
                when g.state = 'pending' and g.effective_at <= $5 then 'active'
                else g.state
            end as state
    ) as by_time
where
    g.account = $1
    and g.created < $2
    and ($4::text is null or by_time.state = $4)
order by g.created desc
limit $3;

-- name: transfer
-- One transfer by its number.
select
    t.*,
    t.metadata::text as metadata_text,
    e.receipt
from transfers as t
inner join entries as e on t.position = e.position
where t.seq = $1;

-- name: transfer_by_reference
-- The transfer that carries a caller's own reference.
select
    t.*,
    t.metadata::text as metadata_text,
    e.receipt
from transfers as t
inner join entries as e on t.position = e.position
where t.reference = $1;

-- name: entries
-- Movements of an account between two numbers, newest first: one page of each side, then the newest of both.
select t.*
from (
    (
        select d.* from transfers as d
        where d.debit = $1 and d.seq < $2 and d.seq > $4
        order by d.seq desc limit $3
    )
    union all
    (
        select c.* from transfers as c
        where c.credit = $1 and c.seq < $2 and c.seq > $4
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
    h.state = 'held' and h.expires_at <= shard_time() as overdue
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
        select h.state = 'held' and h.expires_at <= shard_time() as overdue
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

-- name: due_accounts
-- Accounts that time has changed and that nobody has settled yet.
select distinct due.account
from (
    (
        select h.account from holds as h
        where h.state = 'held' and h.expires_at <= shard_time()
        order by h.expires_at
        limit $1
    )
    union all
    (
        select p.account from grants as p
        where p.state = 'pending' and p.effective_at <= shard_time()
        order by p.effective_at
        limit $1
    )
    union all
    (
        select x.account from grants as x
        where x.state = 'active' and x.expires_at <= shard_time()
        order by x.expires_at
        limit $1
    )
) as due
order by due.account
limit $1;

-- name: status
-- How far the chain has got.
select
    h.position,
    h.seq,
    encode(h.hash, 'hex') as hash,
    shard_time() as time,
    (
        select count(*) from holds as o
        where o.state = 'held'
    ) as open_holds,
    (select max(m.number) from migrations as m) as schema_version
from head as h;

-- name: clock_behind
-- By how many microseconds the database's clock is behind the shard's time, which then stands still.
select greatest(h.at - clock_microseconds(), 0) as behind
from head as h;

-- name: span
-- The numbers between which the transfers from one time on ($1) and before another ($2) lie.
select
    coalesce(last_transfer($1::bigint - 1), 0) as above,
    coalesce(last_transfer($2::bigint - 1) + 1, 9223372036854775807) as below;

-- name: balance_at
-- What an account had right after its last change up to a time ($2), and when it changed next.
select
    m.version,
    m.balance,
    m.held,
    least(
        (
            select min(f.at) from figures as f
            where f.account = $1 and f.at > $2
        ),
        (
            select d.at from transfers as d
            where d.debit = $1 and d.seq > (select last_transfer($2::bigint))
            order by d.seq limit 1
        ),
        (
            select c.at from transfers as c
            where c.credit = $1 and c.seq > (select last_transfer($2::bigint))
            order by c.seq limit 1
        )
    ) as next_at
from (
    (
        select
            f.version,
            f.balance,
            f.held
        from figures as f
        where f.account = $1 and f.at <= $2
        order by f.at desc, f.version desc limit 1
    )
    union all
    (
        select
            d.debit_version as version,
            d.debit_balance as balance,
            d.debit_held as held
        from transfers as d
        where d.debit = $1 and d.seq <= (select last_transfer($2::bigint))
        order by d.seq desc limit 1
    )
    union all
    (
        select
            c.credit_version as version,
            c.credit_balance as balance,
            c.credit_held as held
        from transfers as c
        where c.credit = $1 and c.seq <= (select last_transfer($2::bigint))
        order by c.seq desc limit 1
    )
) as m
order by m.version desc
limit 1;

-- name: done_by_time
-- What time did at a moment ($2), in order, and when each became due for an account ($1).
select
    e.operation,
    e.answer,
    case e.kind
        when 'activate' then g.effective_at
        when 'expire_grant' then g.expires_at
        else h.expires_at
    end as due
from (
    select
        n.position,
        n.answer,
        n.operation,
        convert_from(n.operation, 'UTF8')::jsonb ->> 'type' as kind,
        convert_from(n.operation, 'UTF8')::jsonb ->> 'grant' as grant_id,
        convert_from(n.operation, 'UTF8')::jsonb ->> 'hold' as hold_id
    from entries as n
    where n.position > last_entry($2::bigint - 1) and n.position <= last_entry($2::bigint) and n.caller = 'system'
) as e
left join grants as g on e.grant_id = g.id and g.account = $1
left join holds as h on e.hold_id = h.id and h.account = $1
where e.kind in ('activate', 'expire_grant', 'expire') and (g.id is not null or h.id is not null)
order by e.position;

-- name: list_accounts
-- Accounts whose ids begin with one of some prefixes, after an id, in their order, of one state if asked.
select a.id
from unnest($1::text[]) as p (prefix)
cross join
    lateral (
        select f.id from accounts as f
        -- No id holds chr(127), and every character of an id is below it.
        where
            f.id >= p.prefix and f.id < p.prefix || chr(127) and f.id > $2
            and ($3::text is null or f.state = $3)
        order by f.id
        limit $4
    ) as a
order by a.id
limit $4;

-- name: events
-- Entries after a position, in order: of the chain, which is the outbox.
select
    e.position,
    e.at,
    e.operation,
    e.code,
    e.answer
from entries as e
where e.position > $1
order by e.position
limit $2;

-- name: position
select h.position from head as h;

-- name: accepted
select w.position from webhooks as w
where w.url = $1;

-- name: note_accepted
-- Remember how far a webhook has got; never less far, should two keepers overlap.
insert into webhooks as w (url, position) values ($1, $2)
on conflict (url) do update set position = greatest(w.position, excluded.position);
