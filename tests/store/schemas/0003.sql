-- A store of schema 3, by scripts/dump_schema.py. Its keys were made for it and open nothing.
BEGIN TRANSACTION;
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25jgl29v5m5uf3s0sikted4');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25jglad0sg1j97uuircbbo8');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25jgl4cb40sgui1cespo8p8');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25jgl29v5m5uf3s0sikted4');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25jgl29v5m5uf3s0sikted4');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25jglad0sg1j97uuircbbo8');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25jgl4cb40sgui1cespo8p8');
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25jgl5i36atf86i25o8sup0');
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25jglad0sg1j97uuircbbo8');
INSERT INTO "index_entries" VALUES(1,0,'free','user_06h25jgl4cb40sgui1cespo8p8');
INSERT INTO "index_entries" VALUES(1,0,'pro','user_06h25jgl29v5m5uf3s0sikted4');
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;
INSERT INTO "metadata_indexes" VALUES(1,'["public_metadata","plan"]','ready','user_06h25jglad0sg1j97uuircbbo8');
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    digest BLOB NOT NULL,
    outcome TEXT NOT NULL,
    expire_time INTEGER NOT NULL,
    UNIQUE (principal, request_id)
) STRICT;
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25jgkvft72nff5rrne393do','d5f15efd-3a04-466f-8ab3-e7cc87d00c99','/usermeta.backend.v1.BackendService/CreateUser',X'65495C9DCE1770BB5690CC1665B12107','user_06h25jgl29v5m5uf3s0sikted4',1795966660881027);
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25jgkvft72nff5rrne393do','f103ce9a-4f56-477e-ac72-e76c21be1131','/usermeta.backend.v1.BackendService/CreateUser',X'B2854BACE78BDAE5F3037D02836EA4DC','user_06h25jgl4cb40sgui1cespo8p8',1795966660895334);
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25jgkvft72nff5rrne393do','bc9b2a68-fb06-4f60-a2f1-4c86df8d106b','/usermeta.backend.v1.BackendService/CreateUser',X'380FBF409A55A13EC4085C8E33DAFA3B','user_06h25jgl5i36atf86i25o8sup0',1795966660908135);
INSERT INTO "requests" VALUES(4,'secret_key:key_06h25jgkvft72nff5rrne393do','faa776c4-da6c-4b65-81d8-b81429cd83c8','/usermeta.backend.v1.BackendService/CreateUser',X'9440C0AE6455382CEF60D70CFD84344D','user_06h25jgl701bhgchvovue3etd0',1795966660914927);
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25jgkvft72nff5rrne393do','c7454200-07e2-4fb8-a286-a76d4ba1060e','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'2AB8E74AC15BB9EB2FD54223F6C497D5','user_06h25jgl29v5m5uf3s0sikted4',1795966660927013);
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25jgkvft72nff5rrne393do','dump','ADMIN',X'ADCECF6E330ED2CC78909B0D9A38B9A6291B1E7DD2A9F3D7281330F1286952AE',1795880260859604,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jgl8ofijafm1vrrbpv08c','kept','READ',X'2ED2A2170577BCB2B5E57855483C82F66AE9295DF4562EE3CA4097745E33AB65',1795880260934166,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jgl8vgbs7sfd6hevqheqg','revoked','READ',X'9AEB686365898F26BDDD38C889F629C93BEC3741D1157A63519CD0ACF25E552D',1795880260935746,0,1795880260937881);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'BEE0415527EAAA95C22F932FC7A4BD121011921B5869F395A007BE92D6CAE77E');
INSERT INTO "secrets" VALUES('sign_up_token',X'97206E4B1D55B7AC06119E8BFFD353C980090E7D30A0490660F7450919D9A387');
INSERT INTO "secrets" VALUES('resume_token',X'49663304038040BEAB9D660F2CD058FAB84CC85409A588DEC3D9A6F1BF9C89FF');
INSERT INTO "secrets" VALUES('page_token',X'2A3F39168E0722DC06E283513A92B503A0649DE48235BAAB2DCB990EB3892974');
CREATE TABLE sign_ups (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    username TEXT NOT NULL,
    email_address TEXT NOT NULL,
    email_address_verified INTEGER NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    external_id TEXT NOT NULL,
    public_metadata TEXT NOT NULL,
    private_metadata TEXT NOT NULL,
    unsafe_metadata TEXT NOT NULL,
    etag TEXT NOT NULL,
    visible_etag TEXT NOT NULL,
    created_user_id TEXT NOT NULL,
    abandon_time INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    visible_update_time INTEGER NOT NULL,
    close_time INTEGER NOT NULL,
    sweep_time INTEGER NOT NULL
) STRICT;
INSERT INTO "sign_ups" VALUES('signup_06h25jgl9ea2k3pjs2q0mnf8j0',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','vaqS7gO0p3bkivlL','YJMDhkLuVQEIzPxb','',1795966660939476,1795880260939476,1795880260939476,1795880260939476,0,1795966660939476);
INSERT INTO "sign_ups" VALUES('signup_06h25jgl9r8ul2q9egtngi8rr8',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','KNdJXNs7U8SzToIW','MXLVic4G-1pETwB9','',1795966660942718,1795880260942718,1795880260944771,1795880260944771,1795880260944771,1798472260944771);
INSERT INTO "sign_ups" VALUES('signup_06h25jgla8adukdc5nn547rc2s',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','2lVRI1QMaoSMckuS','oexb_gGQaOpmuWOO','user_06h25jglad0sg1j97uuircbbo8',1795966660946213,1795880260946213,1795880260947743,1795880260947743,1795880260947743,1798472260947743);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25jgklt3c24a4i62gssmcv0','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIMC3gCTh2dDqQF93Khs2rLdv3xPjhE7lYHE6kfIgizG2
-----END PRIVATE KEY-----
',1795880260781402);
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO "state" VALUES('version',13);
CREATE TABLE users (
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    external_id TEXT NOT NULL,
    username TEXT NOT NULL,
    email_address TEXT NOT NULL,
    email_address_verified INTEGER NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    image_url TEXT NOT NULL,
    banned INTEGER NOT NULL,
    public_metadata TEXT NOT NULL,
    private_metadata TEXT NOT NULL,
    unsafe_metadata TEXT NOT NULL,
    public_metadata_etag TEXT NOT NULL,
    private_metadata_etag TEXT NOT NULL,
    unsafe_metadata_etag TEXT NOT NULL,
    etag TEXT NOT NULL,
    visible_etag TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    visible_update_time INTEGER NOT NULL
) STRICT;
INSERT INTO "users" VALUES('user_06h25jgl29v5m5uf3s0sikted4',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','28bArPcH5ATEC-CP','wQS6qEex7wU1wbnS','DDIXW5SCwS3kLwEw','DHu6HNOfqTvfjM2y','ef-B09IbLTcM0IAj',1795880260881027,1795880260927013,1795880260881027);
INSERT INTO "users" VALUES('user_06h25jgl4cb40sgui1cespo8p8',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','x9DSzAnlupNXbEdE','ELYjZpS1AX6qc0Cl','Y1ps1bqaa72CqfJY','o1fLnfrZJJzMQKMR','VtYu6mQNjk6uOA5m',1795880260895334,1795880260895334,1795880260895334);
INSERT INTO "users" VALUES('user_06h25jgl5i36atf86i25o8sup0',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','yd72BPETf3SlilWG','b-DEvv44yNFEfSjG','nrgHI0qVDnp5ZUMu','ro4SgkqhDSmUT8dY','EPBx18QpGfGxCWo-',1795880260908135,1795880260908135,1795880260908135);
INSERT INTO "users" VALUES('user_06h25jglad0sg1j97uuircbbo8',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','A6eL50C0vqam-WSR','iRQ3NCiHmurgE84s','e1rxTKk32pF1rqMj','-RYyV_rGTjXAQ8hU','kkmilCrXeX5UsQtP',1795880260947743,1795880260947743,1795880260947743);
CREATE INDEX sign_ups_by_sweep_time ON sign_ups (sweep_time);
CREATE INDEX sign_ups_by_user ON sign_ups (created_user_id) WHERE created_user_id != '';
CREATE TRIGGER users_erase_sign_ups AFTER DELETE ON users
BEGIN
    UPDATE sign_ups
    SET username = '', email_address = '', first_name = '', last_name = '', external_id = ''
    WHERE created_user_id = OLD.id AND created_user_id != '';
END;
CREATE INDEX users_by_create_time ON users (create_time, id);
COMMIT;
PRAGMA user_version = 3;
