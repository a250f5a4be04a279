BEGIN TRANSACTION;
CREATE TABLE allowed_addresses (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, ip_address TEXT NOT NULL,
    PRIMARY KEY (port_id, ip_address)) WITHOUT ROWID;
INSERT INTO "allowed_addresses" VALUES('5e829e1f-3543-4502-b69b-252d49fac932','198.19.64.2');
INSERT INTO "allowed_addresses" VALUES('04776e03-dafd-4bc3-8481-f2639afb27de','198.19.64.200');
CREATE TABLE fixed_ips (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, subnet_id TEXT NOT NULL REFERENCES subnets(id),
    ip_address TEXT NOT NULL, PRIMARY KEY (subnet_id, ip_address)) WITHOUT ROWID;
INSERT INTO "fixed_ips" VALUES('04776e03-dafd-4bc3-8481-f2639afb27de','ade43f53-b991-5e19-bd80-2da82518c7a9','198.19.64.4');
INSERT INTO "fixed_ips" VALUES('050b7cae-154d-40f5-9ce1-6d1433776d46','ade43f53-b991-5e19-bd80-2da82518c7a9','198.19.64.1');
INSERT INTO "fixed_ips" VALUES('18c9133c-509a-424b-897f-12198fdc46eb','80f515bf-836e-4286-bcd5-25e4470efb72','10.20.0.2');
INSERT INTO "fixed_ips" VALUES('5e829e1f-3543-4502-b69b-252d49fac932','ade43f53-b991-5e19-bd80-2da82518c7a9','198.19.64.3');
INSERT INTO "fixed_ips" VALUES('9603694a-5ead-490a-bbe4-df7ec3e30731','686d53bb-cf81-5dde-b3b2-2a201e1ca590','198.19.128.1');
INSERT INTO "fixed_ips" VALUES('a3fbb0ef-bc36-443f-881a-2ca7d731269e','52044994-1abc-595b-8287-39a319bbbdc9','198.19.0.1');
INSERT INTO "fixed_ips" VALUES('e24a1fc0-da0c-49df-bd1d-085cc6d26485','686d53bb-cf81-5dde-b3b2-2a201e1ca590','198.19.128.2');
INSERT INTO "fixed_ips" VALUES('f63a04ad-5afe-422d-b278-2cfce0db2780','ade43f53-b991-5e19-bd80-2da82518c7a9','198.19.64.2');
CREATE TABLE floating_ips (
    id TEXT PRIMARY KEY, project_id TEXT, own_port_id TEXT NOT NULL UNIQUE REFERENCES ports(id), address TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks(id), router_id TEXT REFERENCES routers(id), port_id TEXT REFERENCES ports(id),
    fixed_address TEXT, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "floating_ips" VALUES('922a2ecd-6964-45be-93c0-54a437dc8627','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','e24a1fc0-da0c-49df-bd1d-085cc6d26485','198.19.128.2','e0954a5f-eaff-5dc9-aaca-d5288975135b','8d43b375-39df-5a14-8825-3ec5bd5818df','f63a04ad-5afe-422d-b278-2cfce0db2780','198.19.64.2','{"created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, bridge TEXT NOT NULL UNIQUE, mtu INTEGER NOT NULL, project_id TEXT,
    shared INTEGER NOT NULL DEFAULT 1, external INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0,
    details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "networks" VALUES('90a09b6a-8895-5ccb-8abe-37387254b24b','management','br-mgmt',1500,NULL,0,0,1,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "networks" VALUES('cb58e8a6-f892-551a-81e5-187bfc451b16','private','br-private',1500,NULL,1,0,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "networks" VALUES('e0954a5f-eaff-5dc9-aaca-d5288975135b','public','br-public',1500,NULL,0,1,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "networks" VALUES('f18fb816-6fda-479e-abef-6529fcfc0a9d','mine','br-f18fb8166fd',1400,'b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d',0,0,0,'{"created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, load_balancer_id TEXT NOT NULL UNIQUE, token INTEGER NOT NULL);
INSERT INTO "orders" VALUES(2,'11111111-1111-4111-8111-111111111111',4);
CREATE TABLE pair_rules (
    load_balancer_id TEXT NOT NULL, protocol TEXT NOT NULL, port INTEGER NOT NULL, cidr TEXT NOT NULL,
    PRIMARY KEY (load_balancer_id, protocol, port, cidr)) WITHOUT ROWID;
INSERT INTO "pair_rules" VALUES('11111111-1111-4111-8111-111111111111','vrrp',0,'198.19.64.9/32');
CREATE TABLE port_groups (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE, security_group_id TEXT NOT NULL REFERENCES security_groups(id),
    PRIMARY KEY (port_id, security_group_id)) WITHOUT ROWID;
INSERT INTO "port_groups" VALUES('5e829e1f-3543-4502-b69b-252d49fac932','321ca105-a53b-49d4-86f6-2d5c151c439e');
INSERT INTO "port_groups" VALUES('f63a04ad-5afe-422d-b278-2cfce0db2780','321ca105-a53b-49d4-86f6-2d5c151c439e');
INSERT INTO "port_groups" VALUES('04776e03-dafd-4bc3-8481-f2639afb27de','74248763-5851-461d-8257-f2d2279514ce');
CREATE TABLE ports (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, network_id TEXT NOT NULL REFERENCES networks(id), mac_address TEXT NOT NULL,
    device_id TEXT NOT NULL DEFAULT '', device_owner TEXT NOT NULL DEFAULT '', project_id TEXT,
    kind TEXT NOT NULL DEFAULT '', load_balancer_id TEXT, secured INTEGER NOT NULL DEFAULT 0, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "ports" VALUES('9603694a-5ead-490a-bbe4-df7ec3e30731','','e0954a5f-eaff-5dc9-aaca-d5288975135b','02:32:f9:53:0b:d1','8d43b375-39df-5a14-8825-3ec5bd5818df','network:router_gateway',NULL,'',NULL,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('050b7cae-154d-40f5-9ce1-6d1433776d46','','cb58e8a6-f892-551a-81e5-187bfc451b16','02:14:12:38:98:ac','8d43b375-39df-5a14-8825-3ec5bd5818df','network:router_interface',NULL,'',NULL,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('f63a04ad-5afe-422d-b278-2cfce0db2780','octavia-lb-11111111-1111-4111-8111-111111111111','cb58e8a6-f892-551a-81e5-187bfc451b16','02:c8:fb:2d:8c:75','lb-11111111-1111-4111-8111-111111111111','Octavia','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','vip','11111111-1111-4111-8111-111111111111',0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('a3fbb0ef-bc36-443f-881a-2ca7d731269e','octavia-lb-management-22222222-2222-4222-8222-222222222222','90a09b6a-8895-5ccb-8abe-37387254b24b','02:97:1e:a3:eb:de','22222222-2222-4222-8222-222222222222','Octavia',NULL,'management',NULL,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('5e829e1f-3543-4502-b69b-252d49fac932','octavia-lb-vrrp-22222222-2222-4222-8222-222222222222','cb58e8a6-f892-551a-81e5-187bfc451b16','02:58:3a:21:39:0c','22222222-2222-4222-8222-222222222222','Octavia',NULL,'vrrp','11111111-1111-4111-8111-111111111111',0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('18c9133c-509a-424b-897f-12198fdc46eb','octavia-lb-member-22222222-2222-4222-8222-222222222222','f18fb816-6fda-479e-abef-6529fcfc0a9d','02:5a:39:a4:27:2f','22222222-2222-4222-8222-222222222222','Octavia',NULL,'member',NULL,0,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('04776e03-dafd-4bc3-8481-f2639afb27de','tenant','cb58e8a6-f892-551a-81e5-187bfc451b16','02:56:bc:36:38:dc','','','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','',NULL,1,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "ports" VALUES('e24a1fc0-da0c-49df-bd1d-085cc6d26485','','e0954a5f-eaff-5dc9-aaca-d5288975135b','02:33:31:37:89:51','922a2ecd-6964-45be-93c0-54a437dc8627','network:floatingip',NULL,'',NULL,0,'{"created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE routers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "routers" VALUES('8d43b375-39df-5a14-8825-3ec5bd5818df','router1',NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY, security_group_id TEXT NOT NULL REFERENCES security_groups(id) ON DELETE CASCADE, direction TEXT NOT NULL,
    ethertype TEXT NOT NULL, protocol TEXT, port_min INTEGER, port_max INTEGER, prefix TEXT,
    remote_group_id TEXT REFERENCES security_groups(id) ON DELETE CASCADE, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "security_group_rules" VALUES('7f889309-6362-4cf9-8a75-1a9ea1a01350','74248763-5851-461d-8257-f2d2279514ce','egress','IPv4',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('cffbf811-531f-4051-a4ac-cbc46ad017a0','74248763-5851-461d-8257-f2d2279514ce','egress','IPv6',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('bc45c4c5-fe2e-4602-801d-405be2a0e058','74248763-5851-461d-8257-f2d2279514ce','ingress','IPv4',NULL,NULL,NULL,NULL,'74248763-5851-461d-8257-f2d2279514ce','{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('41dc2985-8a9c-4a20-94bc-4b051daa5e3f','74248763-5851-461d-8257-f2d2279514ce','ingress','IPv6',NULL,NULL,NULL,NULL,'74248763-5851-461d-8257-f2d2279514ce','{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('efbd42a0-58bc-435f-9c7c-04a5abc24b22','321ca105-a53b-49d4-86f6-2d5c151c439e','egress','IPv4',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('816875da-abc5-44ff-b998-def7da8e3f21','321ca105-a53b-49d4-86f6-2d5c151c439e','egress','IPv6',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('92001793-4941-44eb-bcd3-c0b4090c0c18','321ca105-a53b-49d4-86f6-2d5c151c439e','ingress','IPv4','tcp',80,80,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('e3dd39f5-adde-4e7b-a6e7-0db623c9683e','1ed9f669-64e6-5192-ac5a-022ffecfe66f','egress','IPv4',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('dd46413f-293c-4244-bdbe-d3e49219d547','1ed9f669-64e6-5192-ac5a-022ffecfe66f','egress','IPv6',NULL,NULL,NULL,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('d30b376b-dc1a-4b8f-b996-6bfac2825dc3','1ed9f669-64e6-5192-ac5a-022ffecfe66f','ingress','IPv4','tcp',443,443,'192.0.2.0/24',NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_group_rules" VALUES('797c6176-6a8e-4373-b158-cd290b2ebd06','1ed9f669-64e6-5192-ac5a-022ffecfe66f','ingress','IPv4','tcp',80,80,NULL,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE security_groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT NOT NULL, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "security_groups" VALUES('74248763-5851-461d-8257-f2d2279514ce','default','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','{"description": "Default security group", "created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_groups" VALUES('321ca105-a53b-49d4-86f6-2d5c151c439e','web','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','{"description": "of a tenant", "tags": ["a"], "created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "security_groups" VALUES('1ed9f669-64e6-5192-ac5a-022ffecfe66f','lb-11111111-1111-4111-8111-111111111111','6a1e0f3c5b7d4c2e9f80a1b2c3d4e5f6','{"description": "What the listeners of load balancer 11111111-1111-4111-8111-111111111111 open.", "created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE subnetpools (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, project_id TEXT, ip_version INTEGER NOT NULL, prefixes TEXT NOT NULL,
    shared INTEGER NOT NULL DEFAULT 0, is_default INTEGER NOT NULL DEFAULT 0, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "subnetpools" VALUES('157f3f94-17fe-4161-8351-49efe0d24e04','pool','b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d',4,'["10.20.0.0/16"]',0,0,'{"default_prefixlen": 24, "min_prefixlen": 8, "max_prefixlen": 32, "created_at": "2026-11-28T20:15:18Z"}');
CREATE TABLE subnets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, network_id TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
    cidr TEXT NOT NULL, gateway_ip TEXT, cursor INTEGER NOT NULL DEFAULT 0, project_id TEXT, details TEXT NOT NULL DEFAULT '{}');
INSERT INTO "subnets" VALUES('52044994-1abc-595b-8287-39a319bbbdc9','management-subnet','90a09b6a-8895-5ccb-8abe-37387254b24b','198.19.0.0/20',NULL,1,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "subnets" VALUES('ade43f53-b991-5e19-bd80-2da82518c7a9','private-subnet','cb58e8a6-f892-551a-81e5-187bfc451b16','198.19.64.0/20','198.19.64.1',4,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "subnets" VALUES('686d53bb-cf81-5dde-b3b2-2a201e1ca590','public-subnet','e0954a5f-eaff-5dc9-aaca-d5288975135b','198.19.128.0/24',NULL,2,NULL,'{"created_at": "2026-11-28T20:15:18Z"}');
INSERT INTO "subnets" VALUES('80f515bf-836e-4286-bcd5-25e4470efb72','s','f18fb816-6fda-479e-abef-6529fcfc0a9d','10.20.0.0/24','10.20.0.1',2,'b7f3c1d2e4a5468f9c0d1e2f3a4b5c6d','{"host_routes": [{"destination": "10.99.0.0/16", "nexthop": "10.20.0.9"}], "subnetpool_id": "157f3f94-17fe-4161-8351-49efe0d24e04", "created_at": "2026-11-28T20:15:18Z"}');
CREATE INDEX subnets_by_network ON subnets (network_id);
CREATE INDEX ports_by_name ON ports (name, kind);
CREATE INDEX ports_by_device ON ports (device_id, kind);
CREATE INDEX ports_by_load_balancer ON ports (load_balancer_id);
CREATE INDEX ports_by_network ON ports (network_id);
CREATE INDEX ports_by_mac ON ports (mac_address);
CREATE INDEX fixed_ips_by_port ON fixed_ips (port_id);
CREATE INDEX fixed_ips_by_address ON fixed_ips (ip_address);
CREATE INDEX allowed_by_address ON allowed_addresses (ip_address);
CREATE INDEX security_groups_by_project ON security_groups (project_id, name);
CREATE INDEX rules_by_group ON security_group_rules (security_group_id);
CREATE INDEX rules_by_remote_group ON security_group_rules (remote_group_id);
CREATE INDEX ports_by_group ON port_groups (security_group_id);
CREATE INDEX floating_ips_by_port ON floating_ips (port_id);
CREATE INDEX floating_ips_by_router ON floating_ips (router_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('orders',2);
COMMIT;
