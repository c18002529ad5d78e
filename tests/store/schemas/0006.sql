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
INSERT INTO "changes" VALUES(2,X'23F0E5697DB816A1',1795882433120725,'user_06h25rpqc0gacd5mmd5agi2pbs',1,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','2681150e-e207-4346-a8bd-a088d53bc890','external_id,username,email_address,email_address_verified,first_name,last_name,image_url,public_metadata,private_metadata,unsafe_metadata',0,'["user_06h25rpqc0gacd5mmd5agi2pbs",2,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":10,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","XMe3_zHx0S-8mbDy","9VBWNd935bpqL9o7","LPSY3IDz0CG-xRSM","1pw08J7dN5nQfQSf","vOD8pfxzkpOxaz4e",1795882433120725,1795882433120725,1795882433120725,2]',0,1);
INSERT INTO "changes" VALUES(3,X'A997DD230BB4DA1A',1795882433124766,'user_06h25rpqcjgj23bcg32udib2ig',1,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','8ac74505-4d4f-42cf-983d-90307bbffaf1','username,email_address,banned,public_metadata',0,'["user_06h25rpqcjgj23bcg32udib2ig",3,"","Ünal","uenal@example.com",false,"","","",true,"{\"plan\":\"free\"}","{}","{}","OJicLkbJLysd-Uwh","PuRIf6oMUU95LAm3","umdiidE-5gWIebWn","Lr6Qb36fiD5baUne","tUL7GIFJRs4Ir6Ge",1795882433124766,1795882433124766,1795882433124766,3]',0,1);
INSERT INTO "changes" VALUES(4,X'C5D3A9852C9338BF',1795882433130935,'user_06h25rpqdbqa89l3jf19t5iio4',1,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','8e058b1d-3ea6-4c40-aba6-7884cb2ab418','first_name',0,'["user_06h25rpqdbqa89l3jf19t5iio4",4,"","","",false,"without an identifier","","",false,"{}","{}","{}","lsPlAzikD1D8TEZ8","a_s4wjS4Zy-HQhX8","SPYgOG5LFGqWlurc","oHgIFVolCPYE7JHu","3DSA-gER6FlFaH5g",1795882433130935,1795882433130935,1795882433130935,4]',0,1);
INSERT INTO "changes" VALUES(5,X'C2491F005D431E5D',1795882433132517,'user_06h25rpqdioc2gjl0etuovesvk',1,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','','',0,'',1,1);
INSERT INTO "changes" VALUES(6,X'67DA0BF54A2251D1',1795882433134311,'user_06h25rpqc0gacd5mmd5agi2pbs',4,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','d8641d37-469c-44fc-b893-d605974265bf','private_metadata',2,'["user_06h25rpqc0gacd5mmd5agi2pbs",6,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":11,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","XMe3_zHx0S-8mbDy","CRLqO93qEDG8NQ45","LPSY3IDz0CG-xRSM","1pw08J7dN5nQfQSf","vOD8pfxzkpOxaz4e",1795882433120725,1795882433134311,1795882433120725,2]',0,1);
INSERT INTO "changes" VALUES(7,X'2E68AF2EA950A2E9',1795882433135806,'user_06h25rpqdioc2gjl0etuovesvk',7,'backend','secret_key:key_06h25rpqahblu7fsabjrv649mc','','',5,'',0,1);
INSERT INTO "changes" VALUES(12,X'8AF9229E03E7C047',1795882433150589,'user_06h25rpqfru98vd8v88g7qhnt8',2,'frontend','sign_up:signup_06h25rpqfnk7jr2ds5jf1itfbk','','username,email_address,unsafe_metadata',0,'["user_06h25rpqfru98vd8v88g7qhnt8",12,"","complete.sign-up","complete@example.com",false,"","","",false,"{}","{}","{\"from\":\"complete\"}","oQKlvImFpr77KOhW","FIryqAY24Sear7ok","I4NB5F04AUcoMHQR","-RGBnlQ60zF6m_ix","IAfvSAi0lh5ogYxi",1795882433150589,1795882433150589,1795882433150589,12]',0,1);
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "erased_users" VALUES('user_06h25rpqdioc2gjl0etuovesvk',7);
CREATE TABLE folding (
    version TEXT NOT NULL
) STRICT;
INSERT INTO "folding" VALUES('');
INSERT INTO "folding" VALUES('18.0.0-1');
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25rpqc0gacd5mmd5agi2pbs');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25rpqfru98vd8v88g7qhnt8');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25rpqcjgj23bcg32udib2ig');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25rpqc0gacd5mmd5agi2pbs');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25rpqc0gacd5mmd5agi2pbs');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25rpqfru98vd8v88g7qhnt8');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25rpqcjgj23bcg32udib2ig');
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25rpqdbqa89l3jf19t5iio4');
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25rpqfru98vd8v88g7qhnt8');
INSERT INTO "index_entries" VALUES(1,0,'free','user_06h25rpqcjgj23bcg32udib2ig');
INSERT INTO "index_entries" VALUES(1,0,'pro','user_06h25rpqc0gacd5mmd5agi2pbs');
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;
INSERT INTO "metadata_indexes" VALUES(1,'["public_metadata","plan"]','ready','user_06h25rpqfru98vd8v88g7qhnt8');
CREATE TABLE request_users (
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (user_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "request_users" VALUES('user_06h25rpqc0gacd5mmd5agi2pbs',1);
INSERT INTO "request_users" VALUES('user_06h25rpqc0gacd5mmd5agi2pbs',5);
INSERT INTO "request_users" VALUES('user_06h25rpqcjgj23bcg32udib2ig',2);
INSERT INTO "request_users" VALUES('user_06h25rpqdbqa89l3jf19t5iio4',3);
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
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25rpqahblu7fsabjrv649mc','2681150e-e207-4346-a8bd-a088d53bc890','/usermeta.backend.v1.BackendService/CreateUser',X'223D959C6D3390FAC564278A9B344C7E','user_06h25rpqc0gacd5mmd5agi2pbs',1795968833120725,2,'["user_06h25rpqc0gacd5mmd5agi2pbs"]');
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25rpqahblu7fsabjrv649mc','8ac74505-4d4f-42cf-983d-90307bbffaf1','/usermeta.backend.v1.BackendService/CreateUser',X'956CC8B34B1C5654944DAC293E0EFA3A','user_06h25rpqcjgj23bcg32udib2ig',1795968833124766,3,'["user_06h25rpqcjgj23bcg32udib2ig"]');
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25rpqahblu7fsabjrv649mc','8e058b1d-3ea6-4c40-aba6-7884cb2ab418','/usermeta.backend.v1.BackendService/CreateUser',X'26F7F04A603321CA30151BEA20E5A5A7','user_06h25rpqdbqa89l3jf19t5iio4',1795968833130935,4,'["user_06h25rpqdbqa89l3jf19t5iio4"]');
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25rpqahblu7fsabjrv649mc','d8641d37-469c-44fc-b893-d605974265bf','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'279B9C00D62DEBB4328AD8E91C4F5381','user_06h25rpqc0gacd5mmd5agi2pbs',1795968833134311,6,'["user_06h25rpqc0gacd5mmd5agi2pbs"]');
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25rpqahblu7fsabjrv649mc','dump','ADMIN',X'AE298B05D2A6A5DC792AB0FFB23194E64F4F00EE90A1C3436C3CBF7C5FFADF2D',1795882433108575,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25rpqei5km5bo0jsnav67k8','kept','READ',X'97C99A5C41624216574F32B22F021C0CD8518F6F2EF73BD87ACD7B8A9FDF1F20',1795882433140447,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25rpqeos0agumi8b61i1moo','revoked','READ',X'AB700116347194A49F2D6121B5F40DAED771DA09068E2490D4810FCF8B45E9D5',1795882433142572,0,1795882433143691);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'1C9E1E8C5B65CB953864710B71882FC72857C1BE608CAF0F95A32067F8AC557B');
INSERT INTO "secrets" VALUES('sign_up_token',X'D2C77D6BED37A2D03F16B5B1C3A56B9E4F7F3CF6CF31025BF20A79EA2B5E0F0F');
INSERT INTO "secrets" VALUES('resume_token',X'AD65C017332E9FF23F089FCF90C8EFC4BAC5BE55F7F27995A534E4DF61693CB5');
INSERT INTO "secrets" VALUES('page_token',X'5C3BED01677BD7FE13BC5AEE8DE38A07E8BD227821FFB15BE640C60DEFA6C5C5');
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
INSERT INTO "sign_ups" VALUES('signup_06h25rpqf7aof156aege56num8',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','whddVFnTeAUj3Q9C','DSk-bsWgVDoJMMJy','',1795968833145085,1795882433145085,1795882433145085,1795882433145085,0,1795968833145085);
INSERT INTO "sign_ups" VALUES('signup_06h25rpqf9c8qhkjcoihth383o',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','lsDrqsiR0tL87Q6x','l93pgpsd3skNWyQU','',1795968833146589,1795882433146589,1795882433147790,1795882433147790,1795882433147790,1798474433147790);
INSERT INTO "sign_ups" VALUES('signup_06h25rpqfnk7jr2ds5jf1itfbk',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','IdbNuKNbolZMuVH_','UVGaoCVz4AVdGy1a','user_06h25rpqfru98vd8v88g7qhnt8',1795968833149208,1795882433149208,1795882433150589,1795882433150589,1795882433150589,1798474433150589);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25rpq81tsbjvcjql5hgcdr4','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIG/79QWp4TDMhruJcUZz181s/eCCEM9iSK/VoHPewJ0d
-----END PRIVATE KEY-----
',1795882433088203);
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
INSERT INTO "users" VALUES('user_06h25rpqc0gacd5mmd5agi2pbs',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','XMe3_zHx0S-8mbDy','CRLqO93qEDG8NQ45','LPSY3IDz0CG-xRSM','1pw08J7dN5nQfQSf','vOD8pfxzkpOxaz4e',1795882433120725,1795882433134311,1795882433120725,2);
INSERT INTO "users" VALUES('user_06h25rpqcjgj23bcg32udib2ig',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','OJicLkbJLysd-Uwh','PuRIf6oMUU95LAm3','umdiidE-5gWIebWn','Lr6Qb36fiD5baUne','tUL7GIFJRs4Ir6Ge',1795882433124766,1795882433124766,1795882433124766,3);
INSERT INTO "users" VALUES('user_06h25rpqdbqa89l3jf19t5iio4',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','lsPlAzikD1D8TEZ8','a_s4wjS4Zy-HQhX8','SPYgOG5LFGqWlurc','oHgIFVolCPYE7JHu','3DSA-gER6FlFaH5g',1795882433130935,1795882433130935,1795882433130935,4);
INSERT INTO "users" VALUES('user_06h25rpqfru98vd8v88g7qhnt8',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','oQKlvImFpr77KOhW','FIryqAY24Sear7ok','I4NB5F04AUcoMHQR','-RGBnlQ60zF6m_ix','IAfvSAi0lh5ogYxi',1795882433150589,1795882433150589,1795882433150589,12);
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
