"""Taking over what a Trustee deployment keeps: policies, resources, reference values.

Order: configuration or folder -> stores that it names (``config``, ``folders``, ``postgres``) -> entries
(``entries``) -> what each is (``meaning``) -> our stores (``importer``), one entry at a time.

Source: coco-wire section 1.12, and the key-value-storage, policy-engine and rvps crates of Trustee.
"""
