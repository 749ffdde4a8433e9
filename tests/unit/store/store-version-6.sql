BEGIN TRANSACTION;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts (id),
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
    run TEXT NOT NULL,
    created REAL NOT NULL
, finish_reason TEXT NOT NULL DEFAULT '', cut_off INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0, usable INTEGER NOT NULL DEFAULT 1, look TEXT NOT NULL DEFAULT 'first');
INSERT INTO "answers" VALUES(1,1,'q1','anatomy','correct','A','ANSWER: A',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181568384175e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(2,1,'q2','anatomy','wrong','B','ANSWER: B',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.7957395618157582283e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(3,1,'q2','anatomy','correct','A','ANSWER: A',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181579399106e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(4,1,'q2','anatomy','wrong','C','ANSWER: C',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181582474701e+09,'',0,0,1,'confirm');
INSERT INTO "answers" VALUES(5,1,'q3','anatomy','error','','refused',0,0,0.0,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181585717203e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(6,1,'s1','anatomy','correct','A','ANSWER: A',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181588745119e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(7,2,'q1','anatomy','wrong','D','ANSWER: D',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181610012048e+09,'',0,0,0,'first');
INSERT INTO "answers" VALUES(8,2,'q2','anatomy','correct','A','ANSWER: A',9,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573956181620478633e+09,'',0,0,1,'first');
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (fingerprint, prompt)
);
INSERT INTO "contexts" VALUES(1,'free','prompt','{"generation": {"max_tokens": 512}, "identity": {"base_url": "http://127.0.0.1:1/v1", "seen": "w"}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}');
INSERT INTO "contexts" VALUES(2,'other','prompt','{"generation": {"max_tokens": 512}, "identity": {"base_url": "http://127.0.0.1:1/v1", "seen": "w"}, "model": "n", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}');
CREATE TABLE "questions" (benchmark TEXT NOT NULL, hash TEXT NOT NULL, subject TEXT NOT NULL, sample_id TEXT NOT NULL, text TEXT NOT NULL, choices TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (benchmark, hash)) WITHOUT ROWID;
INSERT INTO "questions" VALUES('mmlu','q1','anatomy','a_1','Which one is 1?','["w", "x", "y", "z"]','"A"');
INSERT INTO "questions" VALUES('mmlu','q2','anatomy','a_2','Which one is 2?','["w", "x", "y", "z"]','"A"');
INSERT INTO "questions" VALUES('mmlu','q3','anatomy','a_3','Which one is 3?','["w", "x", "y", "z"]','"A"');
INSERT INTO "questions" VALUES('sums','s1','sums','1','3 + 4?','[]','"7"');
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
INSERT INTO "runs" VALUES('20260101T000000Z-0001',1.79573956181472611424e+09,'{"benchmarks": ["mmlu", "sums"], "limit": null, "max_tokens": 512, "task": "inspect_evals/mmlu_0_shot"}');
CREATE TABLE "shards" (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, benchmark TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (run, target, kind, benchmark, name)) WITHOUT ROWID;
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','entry','mmlu','','{"facts": {"generation": {"max_tokens": 512}, "identity": {"base_url": "http://127.0.0.1:1/v1", "seen": "w"}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}, "fingerprint": "free"}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','suite','mmlu','','{"verdict": null}');
CREATE TABLE sightings (id INTEGER PRIMARY KEY, server TEXT NOT NULL, weights TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL);
INSERT INTO "sightings" VALUES(1,'server','w','20260101T000000Z-0001',123.5,'{"signature": null, "started": null, "weights": ""}');
CREATE TABLE "tries" (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, benchmark TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, PRIMARY KEY (run, target, kind, benchmark)) WITHOUT ROWID;
INSERT INTO "tries" VALUES('20260101T000000Z-0001','mine','full','mmlu','all','free','floor 0.5','d',1,1.0,'',1.79573956181643962855e+09,'REGRESSION');
CREATE TABLE "uses" (run TEXT NOT NULL, target TEXT NOT NULL, look TEXT NOT NULL, benchmark TEXT NOT NULL, answer INTEGER NOT NULL REFERENCES answers (id), subject TEXT, PRIMARY KEY (run, target, look, benchmark, answer)) WITHOUT ROWID;
INSERT INTO "uses" VALUES('20260101T000000Z-0001','base','first','mmlu',8,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','confirm','mmlu',4,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',1,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',2,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',3,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','mmlu',5,NULL);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','sums',1,'bones');
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first','sums',6,NULL);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE INDEX sightings_by_server ON sightings (server, id);
COMMIT;
PRAGMA user_version = 6;
