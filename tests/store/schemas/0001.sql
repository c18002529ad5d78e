-- A store of schema 1, by scripts/dump_schema.py. Its keys were made for it and open nothing.
BEGIN TRANSACTION;
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25jfiulicoe66go3fkccd4o');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25jfjfg3j6cef5dc01ub8fo');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25jfj0t4f83e54r9c5gbm5c');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25jfiulicoe66go3fkccd4o');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25jfiulicoe66go3fkccd4o');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25jfjfg3j6cef5dc01ub8fo');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25jfj0t4f83e54r9c5gbm5c');
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
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25jfipa8ga780i4t3psncu0','e1a482fb-ff05-450b-b04c-e555a2fa2fda','/usermeta.backend.v1.BackendService/CreateUser',X'422F774DB9069A86DEE9DEF7D8C39454','user_06h25jfiulicoe66go3fkccd4o',1795966652148477);
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25jfipa8ga780i4t3psncu0','d0344d50-cfcb-48a4-90c4-32e6d297149a','/usermeta.backend.v1.BackendService/CreateUser',X'F2DEAAE1E7DBB8C776A73BDE2954DE61','user_06h25jfj0t4f83e54r9c5gbm5c',1795966652167463);
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25jfipa8ga780i4t3psncu0','0380d9a1-efe3-47c4-95e7-740b90e74a4f','/usermeta.backend.v1.BackendService/CreateUser',X'907ACF6353BD9E715931023923A96B11','user_06h25jfj527ad3lfbjgsiobpa4',1795966652200453);
INSERT INTO "requests" VALUES(4,'secret_key:key_06h25jfipa8ga780i4t3psncu0','2241c891-e345-46bc-9f99-d46790642565','/usermeta.backend.v1.BackendService/CreateUser',X'0FE374581E2970C8E9BC6014D727188B','user_06h25jfj895uma9hn01l2725fo',1795966652225654);
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25jfipa8ga780i4t3psncu0','347b0bd2-00b8-4d65-8c96-769d0d6a51db','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'0E8B795E47E91CEBC9694670DED1ACEF','user_06h25jfiulicoe66go3fkccd4o',1795966652242879);
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25jfipa8ga780i4t3psncu0','dump','ADMIN',X'674EF00EB8D6995E7902BAD34F71997DCF32EBD4BFD6D4CE8ABF91E74D5A236E',1795880252106469,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jfjdhpdpi98a1mk6kbn9s','kept','READ',X'C24313DD9D52A4E0545E49636054DB33B30F5BA28F2BBAA4E2792EFBEF325D3E',1795880252268788,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jfjdu14vh7su014tfv5mk','revoked','READ',X'0A7DD08A81BA79E8FC12A77FA0E6B873A9EFC9F7552D714003B4120A217856AE',1795880252271647,0,1795880252273145);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'F1C70D4D24201461ED7D323076238A19FF3CD62573691534FDC5BB0CD22BE631');
INSERT INTO "secrets" VALUES('sign_up_token',X'320BCF6A024E554DA6F6E6F26BB61D316CBD7E9CDDC9A71E43BEFCDB8545BA46');
INSERT INTO "secrets" VALUES('resume_token',X'64413D748FE4B3DE523D0166AB77452A28144C3267294E514610812F5C09A4E2');
INSERT INTO "secrets" VALUES('page_token',X'E5C44D3E644F18145FD8B06D0301E66DBD5A2941F61A89E7A2DA81F19A018781');
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25jfijqqago92dkfi86f5qs','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFW4vII+VSIYAyuzK7EkCwPKpo3/95udpbt42J+fQrqr
-----END PRIVATE KEY-----
',1795880252046478);
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
INSERT INTO "users" VALUES('user_06h25jfiulicoe66go3fkccd4o',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','zKD92rbzpGT8FEz1','BCK3kudjSELndpiD','s0_lkksPnyQnSfin','NQUkJlxMsOsGiqcO','b7OSuzAsaFHpFjxl',1795880252148477,1795880252242879,1795880252148477);
INSERT INTO "users" VALUES('user_06h25jfj0t4f83e54r9c5gbm5c',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','4gIfXcEQ5R_3hBGy','5D_AJSmOQ5uGOj-g','iubDuNizub-UzM3i','tU1PDfW5GS1y0lsp','YyzdN7SaeZ5UO19V',1795880252167463,1795880252167463,1795880252167463);
INSERT INTO "users" VALUES('user_06h25jfj527ad3lfbjgsiobpa4',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','v1pGIvYKNJUjVHxn','yL97RJn078seyiHS','ZoTuQ7EYxUbRfnTq','v5l1NZ7PG_o63Lhf','P-hSDpgU35sw9Q0-',1795880252200453,1795880252200453,1795880252200453);
INSERT INTO "users" VALUES('user_06h25jfjfg3j6cef5dc01ub8fo',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','VSi2C8ddrQY7vFfH','P1ts-FScTAAjer1H','dGOTGV-dhtdpFKnN','QUQo0dvNLJhEVoPI','-V55uYftAbYAs3SP',1795880252284313,1795880252284313,1795880252284313);
COMMIT;
PRAGMA user_version = 1;
