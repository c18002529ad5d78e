-- A store of schema 6, by scripts/dump_schema.py. Its keys were made for it and open nothing.
BEGIN TRANSACTION;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    nonce BLOB NOT NULL,
    time INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    audience TEXT NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    parts TEXT NOT NULL,
    previous INTEGER NOT NULL,
    -- The user after it, as a JSON array of the columns of `users`; empty when erased.
    state TEXT NOT NULL,
    erased INTEGER NOT NULL,
    -- Whether it is the last change of its write.
    last INTEGER NOT NULL
) STRICT;
INSERT INTO "changes" VALUES(2,X'EC61B8C080A5FF70',1795882805910174,'user_06h25t7aiq3148t99qdqkgpbbs',1,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','96044c79-8f0a-4f6b-b385-ce459e45995b','external_id,username,email_address,email_address_verified,first_name,last_name,image_url,public_metadata,private_metadata,unsafe_metadata',0,'["user_06h25t7aiq3148t99qdqkgpbbs",2,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":10,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","p78fBK4JtnZiiLJm","i6vj30LLvOYMmNBv","izTe_37DZXbrcY4q","dk2gSSX80x4r7-KV","_stvj20eIN9ygzhW",1795882805910174,1795882805910174,1795882805910174,2]',0,1);
INSERT INTO "changes" VALUES(3,X'1A60A2D556AF9DFD',1795882805913308,'user_06h25t7aj6v5nert34h7esfe1c',1,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','92d559ba-a503-4296-b7e4-d184901d2442','username,email_address,banned,public_metadata',0,'["user_06h25t7aj6v5nert34h7esfe1c",3,"","Ünal","uenal@example.com",false,"","","",true,"{\"plan\":\"free\"}","{}","{}","8eoEeh2TzGviAyrK","_NNnrXHahTIKKp8j","n3hnLOMR5dB3xmZb","BwBdMZSjsBlbGUBx","ALBUG-Alx7jmiJ-K",1795882805913308,1795882805913308,1795882805913308,3]',0,1);
INSERT INTO "changes" VALUES(4,X'19145E59D407F586',1795882805915520,'user_06h25t7ajc6ergr5frhc29bpbg',1,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','05f6a2a3-e844-49ae-b81b-1847e4583bb8','first_name',0,'["user_06h25t7ajc6ergr5frhc29bpbg",4,"","","",false,"without an identifier","","",false,"{}","{}","{}","7NQsBL1s6qiklIF5","kxrygfg0RBae9_tb","5l9UZR-kQA3-ToH_","xT9GACDQIFHHXN-N","EsBHZQ1fZ9uCCLQl",1795882805915520,1795882805915520,1795882805915520,4]',0,1);
INSERT INTO "changes" VALUES(5,X'123B975E21608CDE',1795882805916960,'user_06h25t7ajglcks03on0rbrkq1s',1,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','','',0,'',1,1);
INSERT INTO "changes" VALUES(6,X'5BE42F64848A9488',1795882805919486,'user_06h25t7aiq3148t99qdqkgpbbs',4,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','98e31fba-2647-4342-bd19-f3ec5b9c7335','private_metadata',2,'["user_06h25t7aiq3148t99qdqkgpbbs",6,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":11,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","p78fBK4JtnZiiLJm","QrwghvdUQ8OUZW9O","izTe_37DZXbrcY4q","dk2gSSX80x4r7-KV","_stvj20eIN9ygzhW",1795882805910174,1795882805919486,1795882805910174,2]',0,1);
INSERT INTO "changes" VALUES(7,X'EE1FBBE5C6CCBCBD',1795882805921270,'user_06h25t7ajglcks03on0rbrkq1s',7,'backend','secret_key:key_06h25t7ahga2dee04rjsqg4040','','',5,'',0,1);
INSERT INTO "changes" VALUES(12,X'03988BE173B5E796',1795882805933467,'user_06h25t7alkafj7ta6cs1q2tfps',2,'frontend','sign_up:signup_06h25t7alg4ch0l6upnmu9lqc8','','username,email_address,unsafe_metadata',0,'["user_06h25t7alkafj7ta6cs1q2tfps",12,"","complete.sign-up","complete@example.com",false,"","","",false,"{}","{}","{\"from\":\"complete\"}","d8gyWpbSjZv01pie","wDRLAF3sFUnTL7J_","iTKzCx6oFW6tkfCn","0ZpgvscX4yV3sXaW","qsV5JzWMDwAEhK-B",1795882805933467,1795882805933467,1795882805933467,12]',0,1);
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "erased_users" VALUES('user_06h25t7ajglcks03on0rbrkq1s',7);
CREATE TABLE folding (
    version TEXT NOT NULL
) STRICT;
INSERT INTO "folding" VALUES('18.0.0-1');
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25t7aiq3148t99qdqkgpbbs');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25t7alkafj7ta6cs1q2tfps');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25t7aj6v5nert34h7esfe1c');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25t7aiq3148t99qdqkgpbbs');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25t7aiq3148t99qdqkgpbbs');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25t7alkafj7ta6cs1q2tfps');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25t7aj6v5nert34h7esfe1c');
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25t7ajc6ergr5frhc29bpbg');
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25t7alkafj7ta6cs1q2tfps');
INSERT INTO "index_entries" VALUES(1,0,'free','user_06h25t7aj6v5nert34h7esfe1c');
INSERT INTO "index_entries" VALUES(1,0,'pro','user_06h25t7aiq3148t99qdqkgpbbs');
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;
INSERT INTO "metadata_indexes" VALUES(1,'["public_metadata","plan"]','ready','user_06h25t7alkafj7ta6cs1q2tfps');
CREATE TABLE request_users (
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (user_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "request_users" VALUES('user_06h25t7aiq3148t99qdqkgpbbs',1);
INSERT INTO "request_users" VALUES('user_06h25t7aiq3148t99qdqkgpbbs',5);
INSERT INTO "request_users" VALUES('user_06h25t7aj6v5nert34h7esfe1c',2);
INSERT INTO "request_users" VALUES('user_06h25t7ajc6ergr5frhc29bpbg',3);
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    digest BLOB NOT NULL,
    outcome TEXT NOT NULL,
    expire_time INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 0, user_ids TEXT NOT NULL DEFAULT '[]',
    UNIQUE (principal, request_id)
) STRICT;
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25t7ahga2dee04rjsqg4040','96044c79-8f0a-4f6b-b385-ce459e45995b','/usermeta.backend.v1.BackendService/CreateUser',X'F231FEF6FFB150DBB6E36595029D6EE1','user_06h25t7aiq3148t99qdqkgpbbs',1795969205910174,2,'["user_06h25t7aiq3148t99qdqkgpbbs"]');
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25t7ahga2dee04rjsqg4040','92d559ba-a503-4296-b7e4-d184901d2442','/usermeta.backend.v1.BackendService/CreateUser',X'79D2CBA69B75E87B2D5A2D6FE5AC5722','user_06h25t7aj6v5nert34h7esfe1c',1795969205913308,3,'["user_06h25t7aj6v5nert34h7esfe1c"]');
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25t7ahga2dee04rjsqg4040','05f6a2a3-e844-49ae-b81b-1847e4583bb8','/usermeta.backend.v1.BackendService/CreateUser',X'898F0ED5EFF8F6EEAD7310C72EFBE73B','user_06h25t7ajc6ergr5frhc29bpbg',1795969205915520,4,'["user_06h25t7ajc6ergr5frhc29bpbg"]');
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25t7ahga2dee04rjsqg4040','98e31fba-2647-4342-bd19-f3ec5b9c7335','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'6E4253B15810E163082C8292922D8E3E','user_06h25t7aiq3148t99qdqkgpbbs',1795969205919486,6,'["user_06h25t7aiq3148t99qdqkgpbbs"]');
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25t7ahga2dee04rjsqg4040','dump','ADMIN',X'982F516D97308CB7CA5EC6E31F9B3447D4FA371A971114E41E041B54ACD6E602',1795882805900162,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25t7akgbr4s6qccb58m9j78','kept','READ',X'FC70DC68BF881D6DEECB7D2E693FA64ECBF6D1F392D9A95B5C0D6887C48D8AC0',1795882805924445,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25t7akmbbqf3ssc7921qt80','revoked','READ',X'4D648D751C9FCC60D4CF5227D49BC06A37A18461226B0C13F9FCC4583A456D90',1795882805925709,0,1795882805926850);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'E4B0DE1879E87F108BDEDE235035BF0B5D3399C6281E627F1ACAF2219E6205DD');
INSERT INTO "secrets" VALUES('sign_up_token',X'AEF80625F8B2571E3AB00B7B0041204246C127EBEDE39F73BE6D5F5239D97790');
INSERT INTO "secrets" VALUES('resume_token',X'417DD71EBC0E282BD3DE5F3FF055EC58C06AA9F4D249BB6E82B5DF4F10284034');
INSERT INTO "secrets" VALUES('page_token',X'458163D8544C4D2225E64DCC133595FB296D9B3179CE53AD00E3FD812DBC80BF');
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
INSERT INTO "sign_ups" VALUES('signup_06h25t7al1q9ctn489egeh626k',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','4ICuN4Hej35wdn3h','GdC_sfm88r0Dn1W2','',1795969205928237,1795882805928237,1795882805928237,1795882805928237,0,1795969205928237);
INSERT INTO "sign_ups" VALUES('signup_06h25t7al78r5i8f95tiohordk',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','w0ZRi1RgdzAnGucp','h-tUIseNCVj5eJFt','',1795969205929669,1795882805929669,1795882805930720,1795882805930720,1795882805930720,1798474805930720);
INSERT INTO "sign_ups" VALUES('signup_06h25t7alg4ch0l6upnmu9lqc8',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','gCmQyG1zpZwFlY7-','uWGCxRq0uHDaECHK','user_06h25t7alkafj7ta6cs1q2tfps',1795969205932022,1795882805932022,1795882805933467,1795882805933467,1795882805933467,1798474805933467);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25t7ag8du7rqjnnkps8ku9o','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIDHzADoz7dBjdhnY5YczrdwRGKryFEC49e7kJyHBFOjK
-----END PRIVATE KEY-----
',1795882805890410);
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
, create_version INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "users" VALUES('user_06h25t7aiq3148t99qdqkgpbbs',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','p78fBK4JtnZiiLJm','QrwghvdUQ8OUZW9O','izTe_37DZXbrcY4q','dk2gSSX80x4r7-KV','_stvj20eIN9ygzhW',1795882805910174,1795882805919486,1795882805910174,2);
INSERT INTO "users" VALUES('user_06h25t7aj6v5nert34h7esfe1c',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','8eoEeh2TzGviAyrK','_NNnrXHahTIKKp8j','n3hnLOMR5dB3xmZb','BwBdMZSjsBlbGUBx','ALBUG-Alx7jmiJ-K',1795882805913308,1795882805913308,1795882805913308,3);
INSERT INTO "users" VALUES('user_06h25t7ajc6ergr5frhc29bpbg',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','7NQsBL1s6qiklIF5','kxrygfg0RBae9_tb','5l9UZR-kQA3-ToH_','xT9GACDQIFHHXN-N','EsBHZQ1fZ9uCCLQl',1795882805915520,1795882805915520,1795882805915520,4);
INSERT INTO "users" VALUES('user_06h25t7alkafj7ta6cs1q2tfps',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','d8gyWpbSjZv01pie','wDRLAF3sFUnTL7J_','iTKzCx6oFW6tkfCn','0ZpgvscX4yV3sXaW','qsV5JzWMDwAEhK-B',1795882805933467,1795882805933467,1795882805933467,12);
CREATE INDEX sign_ups_by_sweep_time ON sign_ups (sweep_time);
CREATE INDEX sign_ups_by_user ON sign_ups (created_user_id) WHERE created_user_id != '';
CREATE INDEX users_by_create_time ON users (create_time, id);
CREATE INDEX sign_ups_by_external_id ON sign_ups (external_id) WHERE external_id != '';
CREATE TRIGGER requests_name_users AFTER INSERT ON requests
BEGIN
    INSERT INTO request_users (user_id, number) SELECT value, NEW.number FROM json_each(NEW.user_ids);
END;
CREATE TRIGGER requests_forget_users AFTER DELETE ON requests
BEGIN
    DELETE FROM request_users
    WHERE user_id IN (SELECT value FROM json_each(OLD.user_ids)) AND number = OLD.number;
END;
COMMIT;
PRAGMA user_version = 6;
