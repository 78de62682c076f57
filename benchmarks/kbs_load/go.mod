module touchstone.example/kbs_load

go 1.21
