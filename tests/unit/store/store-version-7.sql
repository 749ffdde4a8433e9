BEGIN TRANSACTION;
CREATE TABLE "answers" (
    id BLOB PRIMARY KEY NOT NULL,
    context BLOB NOT NULL,
    question TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    choice TEXT NOT NULL,
    text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    margin REAL,
    served_by TEXT NOT NULL,
    cost REAL,
    finish_reason TEXT NOT NULL,
    cut_off INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    run TEXT NOT NULL,
    created REAL NOT NULL,
    look TEXT NOT NULL,
    set_aside INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "answers" VALUES(X'06613835602FFF9B6B22E189EC87890D',X'B65BB161CDEDD0577411E34A','q1','anatomy','correct','A','ANSWER: A',0,0,0.5,NULL,'up',NULL,'stop',0,0,'20260101T000000Z-0001',1.79574390182297515873e+09,'first',0);
INSERT INTO "answers" VALUES(X'066138356030801B3526099230AB3F5B',X'B65BB161CDEDD0577411E34A','q2','anatomy','wrong','B','ANSWER: B',0,0,0.5,NULL,'up',NULL,'stop',0,0,'20260101T000000Z-0001',1.7957439018231036663e+09,'first',0);
INSERT INTO "answers" VALUES(X'066138356030B8BF91FBAC57F63EB2ED',X'B65BB161CDEDD0577411E34A','q3','anatomy','error','','ANSWER: ',0,0,0.5,NULL,'up',NULL,'stop',0,0,'20260101T000000Z-0001',1.79574390182316040998e+09,'first',0);
CREATE TABLE "contexts" (
    id BLOB PRIMARY KEY NOT NULL,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    made REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO "contexts" VALUES(X'A92D60A71BD09D36A7C28DF7','other','prompt','{"identity": {}, "model": "m", "versions": {"task": "t"}}',1.79574390182293868066e+09);
INSERT INTO "contexts" VALUES(X'B65BB161CDEDD0577411E34A','free','prompt','{"identity": {}, "model": "m", "versions": {"task": "t"}}',1.79574390182286691662e+09);
CREATE TABLE "questions" (benchmark TEXT NOT NULL, hash TEXT NOT NULL, subject TEXT NOT NULL, sample_id TEXT NOT NULL, text TEXT NOT NULL, choices TEXT NOT NULL, key TEXT NOT NULL, kept REAL NOT NULL DEFAULT 0, PRIMARY KEY (benchmark, hash)) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
INSERT INTO "runs" VALUES('20260101T000000Z-0001',1.79574390182227706914e+09,'{"benchmarks": ["mmlu"]}');
CREATE TABLE "shards" (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, benchmark TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, at REAL NOT NULL DEFAULT 0, PRIMARY KEY (run, target, kind, benchmark, name)) WITHOUT ROWID;
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','suite','mmlu','','{"n": 3}',1.7957439018235883712e+09);
CREATE TABLE "sightings" (
    id BLOB PRIMARY KEY NOT NULL,
    server TEXT NOT NULL,
    weights TEXT NOT NULL,
    run TEXT NOT NULL,
    at REAL NOT NULL,
    facts TEXT NOT NULL
);
CREATE TABLE taken_over (
    context BLOB NOT NULL,
    taker BLOB NOT NULL,
    PRIMARY KEY (context, taker)
) WITHOUT ROWID;
INSERT INTO "taken_over" VALUES(X'B65BB161CDEDD0577411E34A',X'A92D60A71BD09D36A7C28DF7');
CREATE TABLE "tries" (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, benchmark TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, judged REAL NOT NULL DEFAULT 0, PRIMARY KEY (run, target, kind, benchmark)) WITHOUT ROWID;
CREATE TABLE "uses" (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    look TEXT NOT NULL,
    benchmark TEXT NOT NULL,
    answer BLOB NOT NULL,
    subject TEXT,
    PRIMARY KEY (run, target, look, benchmark, answer)
) WITHOUT ROWID;
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',X'06613835602FFF9B6B22E189EC87890D',NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',X'066138356030801B3526099230AB3F5B',NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',X'066138356030B8BF91FBAC57F63EB2ED',NULL);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE INDEX sightings_by_server ON sightings (server, at);
PRAGMA user_version = 7;
COMMIT;
