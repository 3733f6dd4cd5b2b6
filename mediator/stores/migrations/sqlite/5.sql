-- Whom to tell if a parcel cannot be brought to its target: JSON; NULL if that is not known.
ALTER TABLE parcel ADD COLUMN origin TEXT;

-- Whether the mediator that was started last passes mail on to others; NULL: none was.
ALTER TABLE registration ADD COLUMN passes_on INTEGER;
