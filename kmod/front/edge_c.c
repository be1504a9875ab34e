// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of stor.ko's edge: what it exports to engines, and the attributes of its disks
 * (/sys/block/storN/stor/), which udev rules read.
 */
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/module.h>

struct stor_deferral;
struct stor_engine_ops;

/* Defined in front/edge.rs. */
int stor_engine_register(const struct stor_engine_ops *ops);
void stor_engine_unregister(const struct stor_engine_ops *ops);
void stor_request_retry(struct stor_deferral *deferral);
void stor_request_end(struct stor_deferral *deferral, u32 status);
void stor_event(void *listener, u32 kind, u64 value);
u64 stor_hole(struct block_device *bdev, u64 sector, u64 sectors);
ssize_t stor_disk_show(void *shared, unsigned int what, char *page);

EXPORT_SYMBOL_GPL(stor_engine_register);
EXPORT_SYMBOL_GPL(stor_engine_unregister);
EXPORT_SYMBOL_GPL(stor_request_retry);
EXPORT_SYMBOL_GPL(stor_request_end);
EXPORT_SYMBOL_GPL(stor_event);
EXPORT_SYMBOL_GPL(stor_hole);

#define STOR_ATTRIBUTE(_name, _what)							\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *page) \
{											\
	return stor_disk_show(dev_to_disk(dev)->private_data, _what, page);		\
}											\
static DEVICE_ATTR_RO(_name)

STOR_ATTRIBUTE(name, 0);
STOR_ATTRIBUTE(uuid, 1);
STOR_ATTRIBUTE(target, 2);
STOR_ATTRIBUTE(engine, 3);

static struct attribute *stor_disk_attributes[] = {
	&dev_attr_name.attr,
	&dev_attr_uuid.attr,
	&dev_attr_target.attr,
	&dev_attr_engine.attr,
	NULL,
};

static const struct attribute_group stor_disk_group = {
	.name = "stor",
	.attrs = stor_disk_attributes,
};

const struct attribute_group *stor_disk_groups[] = {
	&stor_disk_group,
	NULL,
};

/* What a module this front drives announces in `modinfo`. */
MODULE_INFO(stor_abi, "1");
MODULE_INFO(stor_engine_abi, "6");
