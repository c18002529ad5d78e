-- A store of schema 5, by scripts/dump_schema.py. Its keys were made for it and open nothing.
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
INSERT INTO "changes" VALUES(2,X'FA0F4C1927A7E4D7',1795881654061127,'user_06h25oqn5k0vve1cf26irb9p1k',1,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','ab2744b1-1818-41e3-aa07-55f0b88f0df4','external_id,username,email_address,email_address_verified,first_name,last_name,image_url,public_metadata,private_metadata,unsafe_metadata',0,'["user_06h25oqn5k0vve1cf26irb9p1k",2,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":10,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","xp7FA53BqH5KWU86","_aiiYxBfya9ueMLz","-r6IBYkudXXVfR7i","1aHrPqM-QDxI1fnq","bcvsB76yhhDawzyN",1795881654061127,1795881654061127,1795881654061127,2]',0,1);
INSERT INTO "changes" VALUES(3,X'D055CAFEE049BC74',1795881654073636,'user_06h25oqn74nhdljh2ran0gakrc',1,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','1226c8f8-b43d-4557-81c6-eccb6314c401','username,email_address,banned,public_metadata',0,'["user_06h25oqn74nhdljh2ran0gakrc",3,"","Ünal","uenal@example.com",false,"","","",true,"{\"plan\":\"free\"}","{}","{}","mL2G_kdUtvW1MHAT","wwDn5d1YStlb1mz_","zjVQCRTGtHd6rSb6","0TW_KuR5_OV1-OpI","fw57TldXyx59irUx",1795881654073636,1795881654073636,1795881654073636,3]',0,1);
INSERT INTO "changes" VALUES(4,X'C2C43E3A08380878',1795881654082317,'user_06h25oqn89s2hndtia1bcg94d0',1,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','d40e5b60-4612-4e80-be57-891d2eae6e34','first_name',0,'["user_06h25oqn89s2hndtia1bcg94d0",4,"","","",false,"without an identifier","","",false,"{}","{}","{}","PmA3Z5ldaOHeuaxg","7Pedfq7EQtuFBYqj","-9choU4i-qsbLNW6","QkjBMaclB6eucZ9a","BSQml-X-GGuBxd0-",1795881654082317,1795881654082317,1795881654082317,4]',0,1);
INSERT INTO "changes" VALUES(5,X'D1E9671CE81F59F6',1795881654089830,'user_06h25oqn94oircsjemsl1r9has',1,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','','',0,'',1,1);
INSERT INTO "changes" VALUES(6,X'2ABCBA6771E37EA7',1795881654103242,'user_06h25oqn5k0vve1cf26irb9p1k',4,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','53c53f4a-5b72-41b8-abec-3928623286b0','private_metadata',2,'["user_06h25oqn5k0vve1cf26irb9p1k",6,"crm-1815","ada","ada@example.com",true,"Ada","Lovelace","https://example.com/ada.png",false,"{\"deep\":{\"er\":{\"still\":true}},\"plan\":\"pro\",\"tags\":[\"a\",\"b\",1,null]}","{\"credits\":11,\"limit\":9007199254740991,\"ratio\":0.1}","{\"text\":\"Größe 雪 😀 \\\"quoted\\\" ''too''\",\"theme\":\"dark\"}","xp7FA53BqH5KWU86","XT4a_SB3lw-N2m5X","-r6IBYkudXXVfR7i","1aHrPqM-QDxI1fnq","bcvsB76yhhDawzyN",1795881654061127,1795881654103242,1795881654061127,2]',0,1);
INSERT INTO "changes" VALUES(7,X'8C4C95C494509ACF',1795881654110589,'user_06h25oqn94oircsjemsl1r9has',7,'backend','secret_key:key_06h25oqn2h1jjntf5932qvbkck','','',5,'',0,1);
INSERT INTO "changes" VALUES(12,X'54E9825E72E003AC',1795881654194823,'user_06h25oqnm8l9i1iplnkmdeg214',2,'frontend','sign_up:signup_06h25oqnkofnvtf660e5fuhl54','','username,email_address,unsafe_metadata',0,'["user_06h25oqnm8l9i1iplnkmdeg214",12,"","complete.sign-up","complete@example.com",false,"","","",false,"{}","{}","{\"from\":\"complete\"}","zPdUj-Xq55rr7UBN","ZKR7g9vc-gEhaMCx","pERwnLZKhIDrU7dY","FQJ4sXKLUW6e3LVX","FhaCPcL0qoqnRXh0",1795881654194823,1795881654194823,1795881654194823,12]',0,1);
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "erased_users" VALUES('user_06h25oqn94oircsjemsl1r9has',7);
CREATE TABLE identifiers (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "identifiers" VALUES('email_address','ada@example.com','user_06h25oqn5k0vve1cf26irb9p1k');
INSERT INTO "identifiers" VALUES('email_address','complete@example.com','user_06h25oqnm8l9i1iplnkmdeg214');
INSERT INTO "identifiers" VALUES('email_address','uenal@example.com','user_06h25oqn74nhdljh2ran0gakrc');
INSERT INTO "identifiers" VALUES('external_id','crm-1815','user_06h25oqn5k0vve1cf26irb9p1k');
INSERT INTO "identifiers" VALUES('username','ada','user_06h25oqn5k0vve1cf26irb9p1k');
INSERT INTO "identifiers" VALUES('username','complete.sign-up','user_06h25oqnm8l9i1iplnkmdeg214');
INSERT INTO "identifiers" VALUES('username','ünal','user_06h25oqn74nhdljh2ran0gakrc');
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25oqn89s2hndtia1bcg94d0');
INSERT INTO "index_entries" VALUES(1,0,-1152921504606846976,'user_06h25oqnm8l9i1iplnkmdeg214');
INSERT INTO "index_entries" VALUES(1,0,'free','user_06h25oqn74nhdljh2ran0gakrc');
INSERT INTO "index_entries" VALUES(1,0,'pro','user_06h25oqn5k0vve1cf26irb9p1k');
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;
INSERT INTO "metadata_indexes" VALUES(1,'["public_metadata","plan"]','ready','user_06h25oqnm8l9i1iplnkmdeg214');
CREATE TABLE request_users (
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (user_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "request_users" VALUES('user_06h25oqn5k0vve1cf26irb9p1k',1);
INSERT INTO "request_users" VALUES('user_06h25oqn5k0vve1cf26irb9p1k',5);
INSERT INTO "request_users" VALUES('user_06h25oqn74nhdljh2ran0gakrc',2);
INSERT INTO "request_users" VALUES('user_06h25oqn89s2hndtia1bcg94d0',3);
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
INSERT INTO "requests" VALUES(1,'secret_key:key_06h25oqn2h1jjntf5932qvbkck','ab2744b1-1818-41e3-aa07-55f0b88f0df4','/usermeta.backend.v1.BackendService/CreateUser',X'36DFC1A2DA0B0B25DBF511D3112DF040','user_06h25oqn5k0vve1cf26irb9p1k',1795968054061127,2,'["user_06h25oqn5k0vve1cf26irb9p1k"]');
INSERT INTO "requests" VALUES(2,'secret_key:key_06h25oqn2h1jjntf5932qvbkck','1226c8f8-b43d-4557-81c6-eccb6314c401','/usermeta.backend.v1.BackendService/CreateUser',X'62C70F320B1C5F128F9A64A55A2DF7EF','user_06h25oqn74nhdljh2ran0gakrc',1795968054073636,3,'["user_06h25oqn74nhdljh2ran0gakrc"]');
INSERT INTO "requests" VALUES(3,'secret_key:key_06h25oqn2h1jjntf5932qvbkck','d40e5b60-4612-4e80-be57-891d2eae6e34','/usermeta.backend.v1.BackendService/CreateUser',X'76782107F6F0916993B358EA30CCD0C9','user_06h25oqn89s2hndtia1bcg94d0',1795968054082317,4,'["user_06h25oqn89s2hndtia1bcg94d0"]');
INSERT INTO "requests" VALUES(5,'secret_key:key_06h25oqn2h1jjntf5932qvbkck','53c53f4a-5b72-41b8-abec-3928623286b0','/usermeta.backend.v1.BackendService/MergeUserMetadata',X'D3185BC656F6372BA8E6A0042E5EB5B5','user_06h25oqn5k0vve1cf26irb9p1k',1795968054103242,6,'["user_06h25oqn5k0vve1cf26irb9p1k"]');
CREATE TABLE secret_keys (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    revoke_time INTEGER NOT NULL
) STRICT;
INSERT INTO "secret_keys" VALUES('key_06h25oqn2h1jjntf5932qvbkck','dump','ADMIN',X'99BE71AEC71B9776446683B57B4BBE6D462F4E9DA15BE3C8A5FD30FD325A65E6',1795881654036011,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25oqnf7e52vi44v6q8ns5ak','kept','READ',X'8B92EE3683A11E8AFD5022768B73959DCD1B6A6511BCBB9E95EBD7D26507D821',1795881654137024,0,0);
INSERT INTO "secret_keys" VALUES('key_06h25oqnfumd8l6d3e17r85tsk','revoked','READ',X'A42A942E56C75990092A57F9FCE2BC0D907538DD7649B7FB471B16AC4C61BE1C',1795881654143059,0,1795881654149088);
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
INSERT INTO "secrets" VALUES('request_digest',X'EDB9446B7125C9B150A109B7F861E096ECBE2886E2963338A2D0417B133B3190');
INSERT INTO "secrets" VALUES('sign_up_token',X'5BFA890D8D7B76EBDCEEA798F959FFDA5612F3739B3D2A515D5E2197FD355CD9');
INSERT INTO "secrets" VALUES('resume_token',X'31BD126EA7EAF77E66D8DF7F9D9A02518430A3CB4ECC32220C70623577D2F17B');
INSERT INTO "secrets" VALUES('page_token',X'BCE102A782F354EE8BBC4242773ACEAD949FFD6B98FAD3694EFB2269323F37B4');
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
INSERT INTO "sign_ups" VALUES('signup_06h25oqnhb9ijojmj2f9khheog',8,'open','open.sign-up','open@example.com',0,'','','','{}','{}','{"from":"open"}','iYPIToQmvNJNiSQq','ZHETfnJukdPWqQV2','',1795968054154969,1795881654154969,1795881654154969,1795881654154969,0,1795968054154969);
INSERT INTO "sign_ups" VALUES('signup_06h25oqnij4g7rgqn7c25gt7fo',10,'rejected','rejected.sign-up','rejected@example.com',0,'','','','{}','{}','{}','7qvcZ2A_U21SxYBl','3AmJ7lmy10oAR0mq','',1795968054164151,1795881654164151,1795881654175358,1795881654175358,1795881654175358,1798473654175358);
INSERT INTO "sign_ups" VALUES('signup_06h25oqnkofnvtf660e5fuhl54',13,'complete','complete.sign-up','complete@example.com',0,'','','','{}','{}','{}','695Pc5bWymk7qiuN','DDgLC_USLNH8slaR','user_06h25oqnm8l9i1iplnkmdeg214',1795968054182331,1795881654182331,1795881654194823,1795881654194823,1795881654194823,1798473654194823);
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    private_pem TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
INSERT INTO "signing_keys" VALUES('sgn_06h25oqms0snqdmhgtdikg1i5k','-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHcb3WIukltr7p9C+5rPkg2K6py+BFXlt6yTFD2Im8HV
-----END PRIVATE KEY-----
',1795881653984066);
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
INSERT INTO "users" VALUES('user_06h25oqn5k0vve1cf26irb9p1k',6,'crm-1815','ada','ada@example.com',1,'Ada','Lovelace','https://example.com/ada.png',0,'{"deep":{"er":{"still":true}},"plan":"pro","tags":["a","b",1,null]}','{"credits":11,"limit":9007199254740991,"ratio":0.1}','{"text":"Größe 雪 😀 \"quoted\" ''too''","theme":"dark"}','xp7FA53BqH5KWU86','XT4a_SB3lw-N2m5X','-r6IBYkudXXVfR7i','1aHrPqM-QDxI1fnq','bcvsB76yhhDawzyN',1795881654061127,1795881654103242,1795881654061127,2);
INSERT INTO "users" VALUES('user_06h25oqn74nhdljh2ran0gakrc',3,'','Ünal','uenal@example.com',0,'','','',1,'{"plan":"free"}','{}','{}','mL2G_kdUtvW1MHAT','wwDn5d1YStlb1mz_','zjVQCRTGtHd6rSb6','0TW_KuR5_OV1-OpI','fw57TldXyx59irUx',1795881654073636,1795881654073636,1795881654073636,3);
INSERT INTO "users" VALUES('user_06h25oqn89s2hndtia1bcg94d0',4,'','','',0,'without an identifier','','',0,'{}','{}','{}','PmA3Z5ldaOHeuaxg','7Pedfq7EQtuFBYqj','-9choU4i-qsbLNW6','QkjBMaclB6eucZ9a','BSQml-X-GGuBxd0-',1795881654082317,1795881654082317,1795881654082317,4);
INSERT INTO "users" VALUES('user_06h25oqnm8l9i1iplnkmdeg214',12,'','complete.sign-up','complete@example.com',0,'','','',0,'{}','{}','{"from":"complete"}','zPdUj-Xq55rr7UBN','ZKR7g9vc-gEhaMCx','pERwnLZKhIDrU7dY','FQJ4sXKLUW6e3LVX','FhaCPcL0qoqnRXh0',1795881654194823,1795881654194823,1795881654194823,12);
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
PRAGMA user_version = 5;
