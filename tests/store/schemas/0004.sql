-- A store of schema 4, by scripts/dump_schema.py. Its keys were made for it and open nothing.
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
INSERT INTO "changes" VALUES(2,X'66D31DE4FE1ABF04',1795880263243739,'user_06h25jgu9irca32pmjt4404nak',1,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','4fd42987-cb09-425d-96bf-9a8b179d978b','external_id,username,email_address,email_address_verified,first_name,last_name,image_url,public_metadata,private_metadata,unsafe_metadata',0,'["user_06h25jgu9irca32pmjt4404nak",2,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":10,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","-Ybm6NyHIwi1vxmf","I2YQhDhMLFDvYMG6","PXDwwHEuJlDVjv5L","OYMYONJDX8Bb93FY","kJRuzn8J3imKb7jn",1795880263243739,1795880263243739,1795880263243739]',0,1);
INSERT INTO "changes" VALUES(3,X'066EB03D2B1A8FBB',1795880263246719,'user_06h25jgu9rs45r5pk8urlskur4',1,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','04663b59-1101-4d44-aaf2-9360e7fe7dc2','username,email_address,banned,public_metadata',0,'["user_06h25jgu9rs45r5pk8urlskur4",3,"","Ünal","uenal@example.com",false,"","","",true,"{\"plan\":\"free\"}","{}","{}","rx5tO6QJTbawDVln","L-0_RjVGxYKpn1N-","zXcivQARUAK4sadv","mAVHYt3bsGLQYWk0","2p6mLoehx0UR8N5b",1795880263246719,1795880263246719,1795880263246719]',0,1);
INSERT INTO "changes" VALUES(4,X'42A7AEB3C0C95291',1795880263254937,'user_06h25jguatlgqr9dsukg8kv3fs',1,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','d49216db-3546-454e-932a-e87bb33cfeff','first_name',0,'["user_06h25jguatlgqr9dsukg8kv3fs",4,"","","",false,"without an identifier","","",false,"{}","{}","{}","g3W7POHFZp-VRKP5","Q1HVXFVtzjJ3uVzh","JJooknb92xbNalBQ","F6hz3TB_lHfKxpa9","eiEamGaz6lzzsH4d",1795880263254937,1795880263254937,1795880263254937]',0,1);
INSERT INTO "changes" VALUES(5,X'70DBDCDCE4CB0F56',1795880263258557,'user_06h25jgub85cehqv3q87ud4fpo',1,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','','',0,'',1,1);
INSERT INTO "changes" VALUES(6,X'130022B5D4D0AD67',1795880263265601,'user_06h25jgu9irca32pmjt4404nak',4,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','c050b0ea-3a18-484a-b4b6-000685846320','private_metadata',2,'["user_06h25jgu9irca32pmjt4404nak",6,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":11,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","-Ybm6NyHIwi1vxmf","GMvmtu3KStsxJDD3","PXDwwHEuJlDVjv5L","OYMYONJDX8Bb93FY","kJRuzn8J3imKb7jn",1795880263243739,1795880263265601,1795880263243739]',0,1);
INSERT INTO "changes" VALUES(7,X'1695068A6BF9E07C',1795880263268738,'user_06h25jgub85cehqv3q87ud4fpo',7,'backend','secret_key:key_06h25jgu81cajehgqst6g4lqgs','','',5,'',0,1);
INSERT INTO "changes" VALUES(12,X'08DCAE9DD5C0613E',1795880263311985,'user_06h25jgui301afp0vonso0aufc',2,'frontend','sign_up:signup_06h25jguhge0u0tc2u5v458o2s','','username,email_address,unsafe_metadata',0,'["user_06h25jgui301afp0vonso0aufc",12,"","complete.sign-up","complete@example.com",false,"","","",false,"{}","{}","{\"from\":\"complete\"}","3mhhpCQnZVbGKthQ","N-CuYqY8CkDDuGr-","7zJOdtEA8qA_OD1Z","vvt0-BxKBlEKc0Fi","AFsCHu53h5NYhRsc",1795880263311985,1795880263311985,1795880263311985]',0,1);
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "erased_users" VALUES('user_06h25jgub85cehqv3q87ud4fpo',7);
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25jgu9irca32pmjt4404nak');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25jgui301afp0vonso0aufc');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25jgu9rs45r5pk8urlskur4');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25jgu9irca32pmjt4404nak');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25jgu9irca32pmjt4404nak');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25jgui301afp0vonso0aufc');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25jgu9rs45r5pk8urlskur4');
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25jguatlgqr9dsukg8kv3fs');
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25jgui301afp0vonso0aufc');
INSERT INTO "index_entries" VALUES(1,0,'free','user_06h25jgu9rs45r5pk8urlskur4');
INSERT INTO "index_entries" VALUES(1,0,'pro','user_06h25jgu9irca32pmjt4404nak');
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;
INSERT INTO "metadata_indexes" VALUES(1,'["public_metadata","plan"]','ready','user_06h25jgui301afp0vonso0aufc');
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
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25jgu81cajehgqst6g4lqgs','4fd42987-cb09-425d-96bf-9a8b179d978b','/usermeta.backend.v1.BackendService/CreateUser',X'C6EBEA69890EB4ED5BA6430267378D53','user_06h25jgu9irca32pmjt4404nak',1795966663243739);
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25jgu81cajehgqst6g4lqgs','04663b59-1101-4d44-aaf2-9360e7fe7dc2','/usermeta.backend.v1.BackendService/CreateUser',X'C7B051512BA1F034556A0A1E496F90C1','user_06h25jgu9rs45r5pk8urlskur4',1795966663246719);
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25jgu81cajehgqst6g4lqgs','d49216db-3546-454e-932a-e87bb33cfeff','/usermeta.backend.v1.BackendService/CreateUser',X'82B403E9738A8626806B1500AD47D315','user_06h25jguatlgqr9dsukg8kv3fs',1795966663254937);
INSERT INTO "requests" VALUES(4,'secret_key:key_06h25jgu81cajehgqst6g4lqgs','19b64f35-a570-4245-a08f-0333dfca335c','/usermeta.backend.v1.BackendService/CreateUser',X'363A61953A23C4BE21529D5991A8D7DE','user_06h25jgub85cehqv3q87ud4fpo',1795966663258557);
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25jgu81cajehgqst6g4lqgs','c050b0ea-3a18-484a-b4b6-000685846320','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'695B45ECA79B91EB4D9B469F288DB66C','user_06h25jgu9irca32pmjt4404nak',1795966663265601);
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25jgu81cajehgqst6g4lqgs','dump','ADMIN',X'1713A80DE99D6D4B09326BC9150B6BC286C93C089E4BC374457B68C0E4D58F96',1795880263232623,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jgueblbdmrrv8gnj2nd54','kept','READ',X'9F000B8186C48D7123E5E4305D08A6FE921F26A0FA0D17DCDD244809884A50F5',1795880263282629,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25jgug99skv89ktouu1tlq4','revoked','READ',X'F13B61CE7F1BCCA309E1B2A64F6A571DD53BC31CCE5512DBAA8358D9323E6412',1795880263295721,0,1795880263300646);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'F7B9E179FAC9C8626689C76A0F02E99D21A8DE6B485BAF5C335FD4B92AA6E787');
INSERT INTO "secrets" VALUES('sign_up_token',X'7D371DC3A1649001CA7DB8B47F22B59603278ED39CE912D9667FCC8BC6488F23');
INSERT INTO "secrets" VALUES('resume_token',X'5710F9C125A7DDB04538B9FF060F7FDDEA08EC805BB76BB17757EE5EC325D9C1');
INSERT INTO "secrets" VALUES('page_token',X'ACEAAD04CB131FC718937544B157E31149891BFE5D10830AEF13486C0AA17422');
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
INSERT INTO "sign_ups" VALUES('signup_06h25jgugrpbtafut0u1ad1cng',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','zGNSBQIbLDH9N0Cb','RQFCKNY4fxUoZw0q','',1795966663302586,1795880263302586,1795880263302586,1795880263302586,0,1795966663302586);
INSERT INTO "sign_ups" VALUES('signup_06h25jguh2cqd7cbavrsfupbjg',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','9wkQi_j8Qdjz9uiJ','JnEqFfnCnCpr6aZk','',1795966663304590,1795880263304590,1795880263306210,1795880263306210,1795880263306210,1798472263306210);
INSERT INTO "sign_ups" VALUES('signup_06h25jguhge0u0tc2u5v458o2s',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','E-2sMGAqoufYDl8a','6TYm5vsVWlMBq6hT','user_06h25jgui301afp0vonso0aufc',1795966663308134,1795880263308134,1795880263311985,1795880263311985,1795880263311985,1798472263311985);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25jgu5kgs0cg0d91ebq3us8','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINlfopHX3tKSZu7DIXMsjHnFpE5oBDkDTPlhvJoiuaoC
-----END PRIVATE KEY-----
',1795880263208588);
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
INSERT INTO "users" VALUES('user_06h25jgu9irca32pmjt4404nak',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','-Ybm6NyHIwi1vxmf','GMvmtu3KStsxJDD3','PXDwwHEuJlDVjv5L','OYMYONJDX8Bb93FY','kJRuzn8J3imKb7jn',1795880263243739,1795880263265601,1795880263243739);
INSERT INTO "users" VALUES('user_06h25jgu9rs45r5pk8urlskur4',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','rx5tO6QJTbawDVln','L-0_RjVGxYKpn1N-','zXcivQARUAK4sadv','mAVHYt3bsGLQYWk0','2p6mLoehx0UR8N5b',1795880263246719,1795880263246719,1795880263246719);
INSERT INTO "users" VALUES('user_06h25jguatlgqr9dsukg8kv3fs',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','g3W7POHFZp-VRKP5','Q1HVXFVtzjJ3uVzh','JJooknb92xbNalBQ','F6hz3TB_lHfKxpa9','eiEamGaz6lzzsH4d',1795880263254937,1795880263254937,1795880263254937);
INSERT INTO "users" VALUES('user_06h25jgui301afp0vonso0aufc',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','3mhhpCQnZVbGKthQ','N-CuYqY8CkDDuGr-','7zJOdtEA8qA_OD1Z','vvt0-BxKBlEKc0Fi','AFsCHu53h5NYhRsc',1795880263311985,1795880263311985,1795880263311985);
CREATE INDEX sign_ups_by_sweep_time ON sign_ups (sweep_time);
CREATE INDEX sign_ups_by_user ON sign_ups (created_user_id) WHERE created_user_id != '';
CREATE INDEX users_by_create_time ON users (create_time, id);
CREATE INDEX sign_ups_by_external_id ON sign_ups (external_id) WHERE external_id != '';
COMMIT;
PRAGMA user_version = 4;
