-- A ledger with nothing around it: accounts by number, one row a transfer, one chain.
create table head (id smallint primary key, seq bigint not null, hash bytea not null) with (fillfactor = 10);
insert into head (id, seq, hash) values (0, 0, decode(repeat('00', 32), 'hex'));

-- Narrow rows that change often: a page pruned less often is worth the room.
create table accounts (
    id bigint primary key,
    balance bigint not null,
    floor bigint not null default 0,
    check (balance >= floor)
) with (fillfactor = 15);
insert into accounts (id, balance) select n as id, 1000000000 as balance from generate_series(1, 100000) as n;
insert into accounts (id, balance, floor) values (0, 0, -9000000000000000);

create table transfers (
    seq bigint primary key,
    key uuid not null unique,
    debit bigint not null,
    credit bigint not null,
    amount bigint not null check (amount > 0),
    debit_balance bigint not null,
    credit_balance bigint not null,
    at timestamptz not null,
    hash bytea not null
);
create index transfers_debit on transfers (debit, seq);
create index transfers_credit on transfers (credit, seq) where credit <> 0;

-- Decide and store a batch in order. State: 0 posted, 1 insufficient, 2 refused, 3 replayed, 4 twice in one batch.
create function post(_key uuid[], _debit bigint[], _credit bigint[], _amount bigint[])
returns table (states smallint[], numbers bigint[], balances bigint[])
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    _n int := cardinality(_key);
    _now timestamptz := clock_timestamp();
    _micros bytea := int8send((extract(epoch from _now) * 1000000)::bigint);
    _seq bigint;
    _first bigint;
    _hash bytea;
    _ids bigint[];
    _balance bigint[];
    _floor bigint[];
    _from int[];
    _to int[];
    _after_debit bigint[] := array_fill(0::bigint, array[_n]);
    _after_credit bigint[] := array_fill(0::bigint, array[_n]);
    _hashes bytea[] := array_fill(null::bytea, array[_n]);
    _old record;
    _d int;
    _c int;
    _x bigint;
    _y bigint;
begin
    select h.seq, h.hash into _seq, _hash from head as h where h.id = 0 for update;
    _first := _seq;
    states := array_fill(2::smallint, array[_n]);
    numbers := array_fill(0::bigint, array[_n]);

    select
        array_agg(q.id order by q.id), array_agg(a.balance order by q.id), array_agg(a.floor order by q.id)
    into _ids, _balance, _floor
    from (select distinct w.id from unnest(_debit || _credit) as w (id)) as q
    left join accounts as a on a.id = q.id;
    select
        array_agg(r.place order by r.ordinal) filter (where r.side = 0),
        array_agg(r.place order by r.ordinal) filter (where r.side = 1)
    into _from, _to
    from (
        select l.ordinal, l.side, (dense_rank() over (order by l.id))::int as place
        from (
            select d.ordinal, 0 as side, d.id from unnest(_debit) with ordinality as d (id, ordinal)
            union all
            select c.ordinal, 1 as side, c.id from unnest(_credit) with ordinality as c (id, ordinal)
        ) as l
    ) as r;

    if
        exists (select from transfers as t where t.key = any(_key))
        or (select count(distinct u.key) from unnest(_key) as u (key)) < _n
    then
        for _old in
            select u.ordinal, u.first_ordinal, t.seq, t.debit_balance
            from (
                select k.key, k.ordinal, min(k.ordinal) over (partition by k.key) as first_ordinal
                from unnest(_key) with ordinality as k (key, ordinal)
            ) as u
            left join transfers as t on t.key = u.key
        loop
            if _old.seq is not null then
                states[_old.ordinal] := 3;
                numbers[_old.ordinal] := _old.seq;
                _after_debit[_old.ordinal] := _old.debit_balance;
            elsif _old.first_ordinal < _old.ordinal then
                states[_old.ordinal] := 4;
            end if;
        end loop;
    end if;

    for i in 1 .. _n loop
        _d := _from[i];
        _c := _to[i];
        if states[i] = 2 and _balance[_d] is not null and _balance[_c] is not null and _d <> _c and _amount[i] > 0 then
            _x := _balance[_d] - _amount[i];
            if _x < _floor[_d] then
                states[i] := 1;
            else
                _y := _balance[_c] + _amount[i];
                _balance[_d] := _x;
                _balance[_c] := _y;
                _seq := _seq + 1;
                _hash := sha256(
                    _hash || int8send(_seq) || uuid_send(_key[i]) || int8send(_debit[i]) || int8send(_credit[i])
                    || int8send(_amount[i]) || int8send(_x) || int8send(_y) || _micros
                );
                states[i] := 0;
                numbers[i] := _seq;
                _after_debit[i] := _x;
                _after_credit[i] := _y;
                _hashes[i] := _hash;
            end if;
        end if;
    end loop;

    if _seq > _first then
        insert into transfers
        select u.seq, u.key, u.debit, u.credit, u.amount, u.debit_balance, u.credit_balance, _now, u.hash
        from unnest(_key, _debit, _credit, _amount, _after_debit, _after_credit, _hashes, states, numbers)
            as u (key, debit, credit, amount, debit_balance, credit_balance, hash, state, seq)
        where u.state = 0;
        update accounts as a
        set balance = u.balance
        from unnest(_ids, _balance) as u (id, balance)
        where a.id = u.id and a.balance <> u.balance;
        update head as h set seq = _seq, hash = _hash where h.id = 0;
    end if;
    balances := _after_debit;
    return next;
end
$$;
