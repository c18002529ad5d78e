-- A store of schema 2, by scripts/dump_schema.py. Its keys were made for it and open nothing.
BEGIN TRANSACTION;
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25jg0rs42qdiki9v2n1airs');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25jg22d5e923n73qh5f4n0o');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25jg0snso3p4o7eesgcbdpo');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25jg0rs42qdiki9v2n1airs');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25jg0rs42qdiki9v2n1airs');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25jg22d5e923n73qh5f4n0o');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25jg0snso3p4o7eesgcbdpo');
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
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25jg0kr5i7sc1r1au8idv04','285eb3f7-17a6-4aa3-8e7c-49c6adfbea84','/usermeta.backend.v1.BackendService/CreateUser',X'54E346CB15950EFF6BD04D62AD3B216A','user_06h25jg0rs42qdiki9v2n1airs',1795966655710716);
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25jg0kr5i7sc1r1au8idv04','51290bd6-b9f3-44e0-ad48-3eada1ed21c3','/usermeta.backend.v1.BackendService/CreateUser',X'78F4A2886A8066443C1239B8BCCB31CA','user_06h25jg0snso3p4o7eesgcbdpo',1795966655716971);
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25jg0kr5i7sc1r1au8idv04','15438d71-033c-444f-9a7a-35ce0ecf88ee','/usermeta.backend.v1.BackendService/CreateUser',X'B3C9D9F3591A5140969662ABC5D1C629','user_06h25jg0ssd2lcofcnhfg891lo',1795966655719429);
INSERT INTO "requests" VALUES(4,'secret_key:key_06h25jg0kr5i7sc1r1au8idv04','70bd00b0-4721-485c-a304-703cc8ddfa86','/usermeta.backend.v1.BackendService/CreateUser',X'CB7296CDA392A1676D2962E843ECAFF2','user_06h25jg0ttp8nqfe1ab6d08vrs',1795966655726658);
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25jg0kr5i7sc1r1au8idv04','b0b86b5d-3539-48ac-8ef8-330789527287','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'1FB21DE8B52B57AC6CE0AD0DB09213E1','user_06h25jg0rs42qdiki9v2n1airs',1795966655739500);
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25jg0kr5i7sc1r1au8idv04','dump','ADMIN',X'72FD016037089BF77E6AA1536B5F0C1BA5B86B34626EF0C63BF8491151F6889D',1795880255653687,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jg1prtf858bfsuo6trgi4','kept','READ',X'0C27657D13F16E7527E2BF53B1C46711AC14CEFCB011AD47516783143697E1FE',1795880255950138,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jg1rfjlrljju4m1mcfq90','revoked','READ',X'3BBDEA873FFA96381C7CD6364AF3AF3A60267AA0C4D4586749E953AAE2D0D18C',1795880255963243,0,1795880255967148);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'B249F8B203A0B8511BB3B2394D51C707B1ECB020B53EA8C33AE821341083F41D');
INSERT INTO "secrets" VALUES('sign_up_token',X'916FEF77D20DA6A8A343C6AC836118519F3234453354D1597749A369DB00842C');
INSERT INTO "secrets" VALUES('resume_token',X'0C91119AF3980CFC7C248B538FDC9340681CC653A97028B015D3B6564350F021');
INSERT INTO "secrets" VALUES('page_token',X'C2284B752FA84FCEEDD416652A3AAB5BA74F4E3A7597718B2A377BDE6D0421BB');
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
INSERT INTO "sign_ups" VALUES('signup_06h25jg1s5jsl3the56blis2c8',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','rmdgI-kBMIz442ep','NJwMAtZhZhOb5wKr','',1795966655969224,1795880255969224,1795880255969224,1795880255969224,0,1795966655969224);
INSERT INTO "sign_ups" VALUES('signup_06h25jg1tr4pm9n6jpcm7hqhf4',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','GIudlyyBZneJEuj3','Q10cpDXrt1dVpMhz','',1795966655982798,1795880255982798,1795880255984787,1795880255984787,1795880255984787,1798472255984787);
INSERT INTO "sign_ups" VALUES('signup_06h25jg1vltk62bdk7q4t7nmhk',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','HJNmIeLayrmbUObI','dGhZvKW_Y9diudvN','user_06h25jg22d5e923n73qh5f4n0o',1795966655997516,1795880255997516,1795880256019550,1795880256019550,1795880256019550,1798472256019550);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25jg0bkma736lipn0jf25fg','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIM6mREYu7BlIvi6LDAuM8AKkuvUglIopwqpkaWIx9WnU
-----END PRIVATE KEY-----
',1795880255566616);
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
INSERT INTO "users" VALUES('user_06h25jg0rs42qdiki9v2n1airs',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','NOcZIdTDrztNz8kL','bS4WxLLR6I1gVUJ2','wp2Q_7flHk-xL0gi','EGwE10sWCUcb9Zo2','pPTTdqHhC_-AiFET',1795880255710716,1795880255739500,1795880255710716);
INSERT INTO "users" VALUES('user_06h25jg0snso3p4o7eesgcbdpo',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','Nmvx8Hc-GTZaMhkP','Sq3Ar4TCCCX7N9Kt','qU_YzyeQ5gc6GPMa','B0tREwdthb-pmXWQ','YjMRLdu_cwRAmpba',1795880255716971,1795880255716971,1795880255716971);
INSERT INTO "users" VALUES('user_06h25jg0ssd2lcofcnhfg891lo',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','vhVQiECYHqvygoAJ','H6UN9hLibOSIvu7p','HI0RkM9UqbqmxbXc','9z-yGBWHjXiWteKf','pBPnoqn6mNmdgDv-',1795880255719429,1795880255719429,1795880255719429);
INSERT INTO "users" VALUES('user_06h25jg22d5e923n73qh5f4n0o',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','0_2co9Ljpnnoebvi','t9bQnZg9jfhjQFDZ','YWVjqnMJRPb4BTv1','cGzZOeePNAGcI8O6','jD3Cqlna9ntxvSZ7',1795880256019550,1795880256019550,1795880256019550);
CREATE INDEX sign_ups_by_sweep_time ON sign_ups (sweep_time);
CREATE INDEX sign_ups_by_user ON sign_ups (created_user_id) WHERE created_user_id != '';
CREATE TRIGGER users_erase_sign_ups AFTER DELETE ON users
BEGIN
    UPDATE sign_ups
    SET username = '', email_address = '', first_name = '', last_name = '', external_id = ''
    WHERE created_user_id = OLD.id AND created_user_id != '';
END;
COMMIT;
PRAGMA user_version = 2;
