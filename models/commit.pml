/* The commit and claim protocol of ecfs (docs/design.md, section 3), for the model checker spin.
 *
 * `scripts/model` runs it; `ecfs/testing/modelling` holds the sizes, and takes W_c and R_c from
 * `ecfs/erasure/quorum.py`. The words in capitals are the steps; the functions that do them carry
 * the same words, and a test compares.
 *
 * What is in it.  Members 0..N-1 and, with EXCHANGE, a new one that takes the place of member N-1.
 * LIAR is one of them: it acknowledges everything, stores nothing, shows of all records that exist
 * any subset, another to each reader, and no claims; it cannot forge, since all is authenticated.
 * Writer 0 has the pool open in epoch 1. Others claim it at any moment, as if every lease had run
 * out: leases are comfort. A client may stop for good after any step (a crash), or for a while (a
 * stall): safety is checked in every state, so a process that is not scheduled is both. Clients
 * `Client(first, last)` run writers one after the other, the next begins where the one before
 * crashed. Every step on a member is a step of its own and may not happen (a member that is away,
 * full, or late); a member that was skipped may answer the next step (it came back:
 * REJOIN, `Rejoiner`, with an empty record file). A power cut
 * drops, on any subset of members, what was not synced.
 *
 * What stands for what.  Record w*K+k is the k-th of writer w; k = 0 opens its epoch. Bits of a
 * mask are records, or members. `has`: what a read shows; `syn`: what survives a power cut.
 * Hashes are exact, so "the parent's hash" is the parent. A claim is created and synced in one
 * step: a claim that is not synced is not counted by its writer and can only fence too much.
 *
 * What is left out: content (STRIPES are synced before a record is sent and never overwritten),
 * heartbeats, the second listing in CLAIM (the model shows that nothing but comfort rests on it),
 * the spare older checkpoint (here deletion goes right up to the newest root's base: bolder than
 * the code), steps of several records (`more`), where records lie in files (it follows from the
 * chain: what a liar says of it is not believed).
 *
 * Asserted: OneHistory, NothingLost, NoGap, Fenced: see there. Each mutation of the list
 * at the end of this comment makes one of them fail, but for one.
 *
 *   NO_RECHECK        a record counts without listing claims again after its sync
 *   SMALL_QUORUM      (set by the script) W_c and R_c for no liar, with one
 *   COUNT_UNSYNCED    a record counts as soon as it is written
 *   NO_SECURE         the new epoch rests on an adopted record as it was found
 *   SECURE_UNSYNCED   SECURE takes a record that it can see for one that is durable
 *   PIPELINE          record n+1 is sent before n is acknowledged
 *   EARLY_MEMBER      a new member counts before it holds the records
 *   OLD_COUNTS        the old members alone decide while one of them is exchanged
 *   OLD_MEMBERS       a claimant counts the members that labels name, not those of the adopted root
 *   NEW_MEMBERS       SECURE asks only the members of an adopted root, not those before it
 *   EARLY_DELETE      what a checkpoint replaces is deleted before its root is acknowledged
 *   EARLY_LABELS      labels name a checkpoint before its root is acknowledged
 *   UNLABELLED        ... deleted when its root is acknowledged, whatever labels say: this one
 *                     HOLDS. Labels tell where a mount begins to read, and whom to ask; what is
 *                     deleted is safe by the root's acknowledgement alone
 *   READ_FIRST        the log is read before the claim
 *   READ_UNCLAIMED    members that do not hold our claim count as read
 *   GREEDY            of two children that of the higher epoch, whatever follows
 */

#ifndef N
#define N 4          /* members */
#endif
#ifndef W
#define W 3          /* acknowledgements that make a record count */
#endif
#ifndef R
#define R 3          /* members that a recovery must have claimed and read */
#endif
#ifndef NW
#define NW 3         /* writers in all */
#endif
#ifndef K
#define K 3          /* records of writer 0, the one that opens its epoch included */
#endif
#ifndef LATER_K
#define LATER_K K    /* the same, of the others; at most K */
#endif

#ifdef EXCHANGE
#define M (N + 1)
#else
#define M N
#endif
#define B(m)      (1 << (m))
#define OLD       ((1 << N) - 1)
#define NEW       ((OLD & ~B(N - 1)) | B(N))
#define ALL       ((1 << M) - 1)
#ifdef LIAR
#define LIES      B(LIAR)
#else
#define LIES      0
#endif
#define HONEST    (ALL & ~LIES)
#define COUNT(s)  (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1) + \
                   (((s) >> 4) & 1) + (((s) >> 5) & 1) + (((s) >> 6) & 1) + (((s) >> 7) & 1))
#define RECORDS   (NW * K)
#define RECORD_OF(w, k) ((w) * K + (k))
#define WRITER_OF(r)    ((r) / K)
#define NOTHING   255

/* Writer 0 checkpoints with this record; with EXCHANGE the root names the new members. */
#if defined(CHECKPOINTS) || defined(EXCHANGE)
#define ROOT      ROOT_K
#ifndef ROOT_K
#define ROOT_K    2
#endif
#define IS_ROOT(r) ((r) == 0 || (r) == ROOT)
#else
#define IS_ROOT(r) ((r) == 0)
#endif
#ifdef EXCHANGE
#define MEMBERS_BY(chain) ((((chain) >> ROOT) & 1) -> NEW : OLD)
/* While both sets decide, `members` is ALL. */
#define ENOUGH(s) (COUNT((s) & members) >= W && (members != ALL || \
                   (COUNT((s) & OLD) >= W && COUNT((s) & NEW) >= W)))
#else
#define MEMBERS_BY(chain) OLD
#define ENOUGH(s) (COUNT((s) & members) >= W)
#endif

short has[M];        /* records that a member shows */
#ifdef POWER
short syn[M];        /* of these, what is synced */
#define KEEP(m, records)   has[m] = has[m] | (records); syn[m] = syn[m] | (records)
#define REMOVE(m, records) has[m] = has[m] & ~(records); syn[m] = syn[m] & ~(records)
#else
/* Without a power cut nobody can tell what is synced. */
#define KEEP(m, records)   has[m] = has[m] | (records)
#define REMOVE(m, records) has[m] = has[m] & ~(records)
#endif
#if defined(POWER) && !defined(COUNT_UNSYNCED)
#define SYNCED synced
#else
#define SYNCED written
#endif
byte claims[M];      /* writers whose claim a member holds */
byte labelled;       /* members whose label names the checkpoint */
byte epoch[NW];
byte parent[NW];     /* of the record that opens a writer's epoch */
byte tip[NW];        /* what a writer adopted */
short exist = 1;     /* records that were ever sent */
short acked = 1;     /* records that were acknowledged */
byte head;           /* the newest of them */
#ifdef POWER
byte cuts = POWER;
#endif

hidden byte x, best, at;
hidden short line, chain;

/* `line`: record r and all before it. */
inline ancestry(r) {
    x = r; line = 0;
    do
    :: line = line | B(x);
       if
       :: x == 0 -> break
       :: x != 0 && x % K != 0 -> x--
       :: x != 0 && x % K == 0 -> x = parent[WRITER_OF(x)]
       fi
    od
}

/* `line`: what a mount replays to reach r: the newest root, the record that was committed while its
 * checkpoint was written (its base is the one before that), and all from the root on. */
inline replayed(r) {
    x = r; line = 0;
    do
    :: line = line | B(x);
       if
       :: x == 0 -> break
#ifdef ROOT
       :: x == ROOT -> line = line | B(ROOT - 1); break
#endif
       :: !IS_ROOT(x) && x % K != 0 -> x--
       :: !IS_ROOT(x) && x % K == 0 -> x = parent[WRITER_OF(x)]
       fi
    od
}

/* ADOPT, `recovery.adopt`: into `best`. Of all branches the one with the record of the highest
 * epoch, then the longest: whoever wrote in that epoch had read all that older ones had
 * acknowledged, and none of them acknowledges after. */
inline newest(view) {
#ifdef GREEDY
    best = 0;
    do
    :: at = NOTHING; x = 1;
       do
       :: x < RECORDS && ((view >> x) & 1) && ((x % K != 0 && x - 1 == best) ||
              (x % K == 0 && parent[WRITER_OF(x)] == best)) &&
              (at == NOTHING || epoch[WRITER_OF(x)] > epoch[WRITER_OF(at)]) -> at = x; x++
       :: x < RECORDS && !(((view >> x) & 1) && ((x % K != 0 && x - 1 == best) ||
              (x % K == 0 && parent[WRITER_OF(x)] == best)) &&
              (at == NOTHING || epoch[WRITER_OF(x)] > epoch[WRITER_OF(at)])) -> x++
       :: x == RECORDS -> break
       od;
       if
       :: at == NOTHING -> break
       :: else -> best = at
       fi
    od
#else
    best = NOTHING; x = 0;
    do
    :: x < RECORDS && ((view >> x) & 1) &&
           (best == NOTHING || epoch[WRITER_OF(x)] > epoch[WRITER_OF(best)] ||
            (WRITER_OF(x) == WRITER_OF(best) && x > best)) -> best = x; x++
    :: x < RECORDS && !(((view >> x) & 1) &&
           (best == NOTHING || epoch[WRITER_OF(x)] > epoch[WRITER_OF(best)] ||
            (WRITER_OF(x) == WRITER_OF(best) && x > best))) -> x++
    :: x == RECORDS -> break
    od
#endif
}

/* Any member of a set that is not empty. */
inline pick(set) {
    m = 0;
    do
    :: (set) & B(m) -> break
    :: ((set) >> (m + 1)) != 0 -> m++
    od
}

/* The same for a claim. Honest members are alike until the first claimant comes to them: let them
 * be numbered by when writer 1 does. */
inline pick_first(set) {
    m = 0;
    do
    :: (set) & B(m) -> break
#ifdef EXCHANGE
    :: ((set) >> (m + 1)) != 0 -> m++
#else
    :: ((set) >> (m + 1)) != 0 && (w != 1 || !((set) & B(m))) -> m++
#endif
    od
}

/* ACKNOWLEDGE, `Committer._send`. */
inline acknowledge(r) {
    d_step {
        /* OneHistory: whatever was acknowledged by anybody lies on one chain of hashes. */
        ancestry(head); chain = line; ancestry(r);
        assert(((chain >> (r)) & 1) || ((line >> head) & 1));
        if
        :: (line >> head) & 1 -> head = r
        :: else
        fi;
        /* Fenced: once a later epoch has adopted a history, an older one acknowledges nothing
         * more, unless it is in there (the writer was on its way to say so). */
        at = 0;
        do
        :: at < NW ->
           if
           :: at != w && tip[at] != NOTHING && epoch[at] > epoch[w] ->
              ancestry(tip[at]);
              assert((line >> (r)) & 1)
           :: else
           fi;
           at++
        :: at == NW -> break
        od;
        acked = acked | B(r);
        at = 0; line = 0; chain = 0; x = 0
    }
}

proctype Client(byte w; byte last) {
    byte m, k, members, held, read, written, synced, ok;
    short view;
    bool old_too;

    if
    :: w == 0 -> members = OLD; k = 1; goto commit
    :: else
    fi;

begin:
    skip;
#ifdef READ_FIRST
    do
    :: atomic { (HONEST & ~read) != 0 -> pick(HONEST & ~read); view = view | has[m];
                read = read | B(m); m = 0 }
    :: COUNT((read | LIES) & OLD) >= R -> break
    od;
#endif
    /* CLAIM, `Claimer.claim`: one above the highest epoch that is shown, created on members one
     * after the other, each once and for good. */
    skip;
    d_step {
        at = 0; best = 1;
        do
        :: at < NW -> x = 0;
           do
           :: x < M && ((claims[x] >> at) & 1) && epoch[at] > best -> best = epoch[at]
           :: x < M && !(((claims[x] >> at) & 1) && epoch[at] > best) -> x++
           :: x == M -> break
           od;
           at++
        :: at == NW -> break
        od;
        epoch[w] = best + 1; best = 0; at = 0; x = 0
    }
    held = LIES;
    do
    :: atomic { (HONEST & ~held & ~written) != 0 -> pick_first(HONEST & ~held & ~written);
                at = 0;
                do
                :: at < NW && at != w && ((claims[m] >> at) & 1) && epoch[at] == epoch[w] ->
                   written = written | B(m); break
                :: at < NW && !(at != w && ((claims[m] >> at) & 1) && epoch[at] == epoch[w]) ->
                   at++
                :: at == NW ->
                   claims[m] = claims[m] | B(w); held = held | B(m); break
                od;
                at = 0; m = 0 }
    :: COUNT(held & OLD) >= W || COUNT(held & (M > N -> NEW : OLD)) >= W ->
       written = 0; break
    :: w < last -> goto crash
    od;

#ifndef READ_FIRST
    /* READ, `records.read_log`: member by member, only now. What the liar shows: see ADOPT. */
    do
    :: atomic { (HONEST & ~read) != 0 -> pick(HONEST & ~read); view = view | has[m];
                read = read | B(m); m = 0 }
    :: COUNT((read | LIES) & OLD) >= R || COUNT((read | LIES) & (M > N -> NEW : OLD)) >= R -> break
    :: w < last -> goto crash
    od;
#endif

    /* ADOPT. The liar shows last, what it likes, to this reader. Only members that hold our claim
     * count as read. The root that is adopted says who the members are; as long as no label shows
     * that this root was ever acknowledged, those before it decide as well: both need a quorum. */
    atomic {
        read = read | LIES;
#if defined(LIAR)
        m = 0;
        do
        :: m < RECORDS && ((exist >> m) & 1) && !((view >> m) & 1) ->
           if
           :: view = view | B(m)
           :: skip
           fi;
           m++
        :: m < RECORDS && !(((exist >> m) & 1) && !((view >> m) & 1)) -> m++
        :: m == RECORDS -> break
        od;
        m = 0;
#endif
#ifdef ROOT
        /* The newest label among those seen tells where to begin. */
        if
        :: (labelled & read) != 0 -> view = view & ~(B(ROOT - 1) - 1)
        :: else
        fi;
#endif
        if
        :: view == 0 -> best = NOTHING; line = 1
        :: else -> newest(view); replayed(best)
        fi;
        chain = line;
        members = MEMBERS_BY(chain);
#ifdef EXCHANGE
        if
        :: (labelled & read) != 0 -> members = NEW
        :: else
        fi;
#endif
        old_too = members != OLD && (labelled & read) == 0;
        if
#ifdef READ_UNCLAIMED
        :: COUNT(read & OLD) < R || COUNT(read & OLD) < W || COUNT(held & OLD) < W ->
#else
#ifdef OLD_MEMBERS
        :: COUNT(read & held & OLD) < R || COUNT(held & OLD) < W ->
#else
        :: COUNT(read & held & members) < R || COUNT(held & members) < W ||
           (old_too && (COUNT(read & held & OLD) < R || COUNT(held & OLD) < W)) ->
#endif
#endif
           best = 0; line = 0; chain = 0; x = 0; at = 0; goto crash
        :: else
        fi;
        /* NoGap: with a read quorum and within the budget, the pool is not refused: a record that
         * is seen has all of its parents, down to a root. Nothing was deleted that is needed. But
         * who was overtaken by a later epoch while it read may be refused, and so may one of
         * three who read while another was between SECURE and OPEN: it has to read again. */
#ifdef THREE
#define IN_FLIGHT(r) (epoch[WRITER_OF(r)] > epoch[w] || \
                      ((acked >> RECORD_OF(WRITER_OF(r), 0)) & 1) == 0)
#else
#define IN_FLIGHT(r) (epoch[WRITER_OF(r)] > epoch[w])
#endif
        if
        :: best != NOTHING && IN_FLIGHT(best) && (chain & ~view) != 0 ->
           best = 0; line = 0; chain = 0; x = 0; at = 0; goto crash
        :: else -> assert(best != NOTHING && (chain & ~view) == 0)
        fi;
#ifdef GREEDY
        at = 0;
        do
        :: at < RECORDS && ((view >> at) & 1) && epoch[WRITER_OF(at)] > epoch[WRITER_OF(best)] ->
           assert(false)     /* "records past a gap" */
        :: at < RECORDS && !(((view >> at) & 1) &&
               epoch[WRITER_OF(at)] > epoch[WRITER_OF(best)]) -> at++
        :: at == RECORDS -> break
        od;
#endif
        tip[w] = best;
        /* NothingLost: every acknowledged record is in the history that is adopted, but for those
         * of later epochs: whoever sees less than they will acknowledge nothing (OneHistory). */
        ancestry(best);
        at = 0;
        do
        :: at < NW && epoch[at] > epoch[w] -> line = line | (((1 << K) - 1) << (at * K)); at++
        :: at < NW && epoch[at] <= epoch[w] -> at++
        :: at == NW -> break
        od;
        assert((acked & ~line) == 0);
        view = chain;
        read = 0; held = 0;
        best = 0; line = 0; chain = 0; x = 0; at = 0
    }
    if
    :: w == NW - 1 -> goto finished      /* the last only looks */
    :: else
    fi;

    /* SECURE, `LogMender.secure`: every adopted record, synced, on a write quorum. */
#ifdef NEW_MEMBERS
    old_too = false;
#endif
#define SECURED (members | (old_too * OLD))
#ifndef NO_SECURE
    ok = LIES;
    do
    :: atomic { (SECURED & ~ok) != 0 -> pick(SECURED & ~ok);
#ifdef SECURE_UNSYNCED
                if
                :: (view & ~has[m]) == 0
                :: else -> KEEP(m, view)
                fi;
#else
                KEEP(m, view);
#endif
                ok = ok | B(m); m = 0 }
    :: COUNT(ok & members) >= W && (!old_too || COUNT(ok & OLD) >= W) -> break
    :: w < last -> goto crash
    od;
#endif
    view = 0; ok = 0; old_too = false;

    /* OPEN, `Committer.open_epoch`: the first record names the adopted tip. */
    parent[w] = tip[w];
    k = 0;

commit:
    do
    :: k < (w == 0 -> K : LATER_K) ->
#ifdef EXCHANGE
       if
       :: w == 0 && k == ROOT_K ->
          /* EXCHANGE, `exchange_member`: the new member gets the claim, then every record that
           * is needed. The root names the new members, and is acknowledged by a quorum of the
           * old members, that which leaves included, and by one of the new. */
          atomic { claims[N] = claims[N] | B(0) };
#ifndef EARLY_MEMBER
          atomic { KEEP(N, B(ROOT) - 1) };
#endif
#ifndef OLD_COUNTS
          members = ALL
#endif
       :: else
       fi;
#endif
       exist = exist | B(RECORD_OF(w, k));
       ok = LIES;
       do
       /* RECORD, `RecordWriter._append_one`: written ... */
       :: atomic { (members & HONEST & ~written) != 0 -> pick(members & HONEST & ~written);
                   has[m] = has[m] | B(RECORD_OF(w, k)); written = written | B(m); m = 0 }
#ifdef POWER
       /* SYNC: ... synced, unless a power cut took it: then it is written again ... */
       :: atomic { (written & ~synced) != 0 -> pick(written & ~synced);
                   if
                   :: (has[m] >> RECORD_OF(w, k)) & 1 ->
                      syn[m] = syn[m] | B(RECORD_OF(w, k)); synced = synced | B(m)
                   :: else -> written = written & ~B(m)
                   fi;
                   m = 0 }
#endif
       /* RECHECK, `RecordWriter.check_claims`: ... and counts unless another's claim of this
        * epoch or a later one is there now. */
       :: atomic { (SYNCED & ~ok) != 0 -> pick(SYNCED & ~ok);
#ifdef NO_RECHECK
                   ok = ok | B(m);
#else
                   at = 0;
                   do
                   :: at < NW && at != w && ((claims[m] >> at) & 1) && epoch[at] >= epoch[w] ->
                      break
                   :: at < NW && !(at != w && ((claims[m] >> at) & 1) &&
                          epoch[at] >= epoch[w]) -> at++
                   :: at == NW -> ok = ok | B(m); break
                   od;
                   at = 0;
#endif
                   m = 0 }
       :: ENOUGH(ok) -> acknowledge(RECORD_OF(w, k)); break
#ifdef PIPELINE
       :: written != 0 && k + 1 < (w == 0 -> K : LATER_K) -> break
#endif
#ifdef EARLY_LABELS
       :: w == 0 && k == ROOT_K && (HONEST & ~labelled) != 0 -> atomic {
              pick(HONEST & ~labelled); labelled = labelled | B(m); m = 0 }
#endif
#ifdef EARLY_DELETE
       :: w == 0 && k == ROOT_K -> atomic {
              pick(HONEST); REMOVE(m, B(ROOT - 1) - 1); m = 0 }
#endif
       :: w < last -> goto crash
       od;
       atomic { ok = 0; written = 0; synced = 0 };
#ifdef ROOT
       if
       :: w == 0 && k == ROOT_K ->
          /* CHECKPOINT, `Volume.checkpoint`, is acknowledged. LABELS, `Labeller.write`. */
#ifdef EXCHANGE
          members = NEW;
#endif
          do
          :: atomic { (members & HONEST & ~labelled) != 0 ->
                      pick(members & HONEST & ~labelled); labelled = labelled | B(m); m = 0 }
          :: COUNT((labelled | LIES) & members) >= W -> break
#ifdef UNLABELLED
          :: break
#endif
          /* Fewer took the labels: nothing is deleted, commits go on. */
          :: goto undeleted
          od;
          /* DELETE, `Volume._give_back`: what lies before the root's base. */
          do
          :: atomic { (members & HONEST & ~written) != 0 ->
                      pick(members & HONEST & ~written); written = written | B(m);
                      REMOVE(m, B(ROOT - 1) - 1); m = 0 }
          :: break
          od;
undeleted:
          written = 0
       :: else
       fi;
#endif
       k++
    :: else -> goto finished
    od;

crash:
    /* Nothing that it knew matters any more. */
    atomic {
        m = 0; k = 0; members = 0; held = 0; read = 0; written = 0; synced = 0; ok = 0;
        view = 0; old_too = false;
        if
        :: w < last -> w++; goto begin
        :: else -> goto over
        fi
    }
finished:
#ifdef REACH
    atomic {
        if
        :: w == NW - 1 -> assert(acked != GOAL)
        :: else
        fi
    };
#endif
    atomic {
        m = 0; k = 0; members = 0; held = 0; read = 0; written = 0; synced = 0; ok = 0;
        view = 0; old_too = false;
        if
        :: w < last -> w++; goto begin
        :: else
        fi
    }
over:
    skip
}

#ifdef POWER
/* What is not synced is lost, on any subset of the members. */
proctype PowerCut() {
    byte m;
    do
    :: atomic { cuts > 0 -> cuts--;
                m = 0;
                do
                :: m < M && has[m] == syn[m] -> m++
                :: m < M && has[m] != syn[m] -> has[m] = syn[m]; m++
                :: m < M && has[m] != syn[m] -> m++
                :: m == M -> break
                od;
                m = 0 }
    :: cuts == 0 -> break
    od
}
#endif

init {
    atomic {
        epoch[0] = 1;
        byte i = 0;
        do
        :: i < N -> KEEP(i, 1); claims[i] = 1; i++
        :: i == N -> break
        od;
        i = 0;
        do
        :: i < NW -> parent[i] = NOTHING; tip[i] = NOTHING; i++
        :: i == NW -> break
        od;
        i = 0;
        tip[0] = 0;
#ifdef SERIAL
        run Client(0, NW - 1);
#else
        run Client(0, 0);
#ifdef THREE
        run Client(1, 1);
        run Client(2, NW - 1);
#else
        run Client(1, NW - 1);
#endif
#endif
#ifdef POWER
        run PowerCut();
#endif
    }
}
