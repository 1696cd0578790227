//! An RSA key that was made for these tests and is used nowhere else, in base64url.

/// The modulus; the exponent is 65537, `AQAB`.
pub(super) const MODULUS: &str = "\
    xBU_3To6sTaVkoc0fthuxq4tcCKODOleBSwHdN-FlQah18d730QJYOmQiuw2q668MdEzQ4dfNntuDU6TsdqsbBz8x2\
    Ur_TzLoLxzJ82TYjuepX_OyAdT223CsXeHQEY5FpAv6som99HvLkBbfiIFXLFCDAeqsi1hUYrtXcdiB7FTEZWCjeFs\
    LF_X8LEl-5YOHQ9zdYc4Ga2wgMqxII-Il0u0V63JhmVEtqL5ERyVvaZvlS8Y4TNFsZ-mJvF0z0nj06LvxDSuJ72ED7\
    fjN9AdGY05yVPXgBRiGrp9cGRIfoZc1JrSPhKfRjOS1qYNVXBkgXrYaODxqzwkCrbCHaHlyw\
    ";

/// The private exponent.
pub(super) const PRIVATE: &str = "\
    KFtZRB6Wct_RpBFY0ByanCDAMFqkUur7E2Ru-nKAy13MlJ01lQurRHt96OHaFLbHfBdbDjR_97Yqvelkw4_Gug-zRR\
    TBG4NWQ7RVnSUWBvtPWS-3bvr3Guv5zM3Vk_iACnFNs2y83XejWykay5iT8vJ2rgQr8TUe2QoXdZwyRHOxoJlQWz-X\
    Kl6oU1mau4R0DQZxJ-6sC0Q_lcsk_nzKQoLFIIsHRq77eD4DFD-3Y3ckraUeKUYrzhaP-nCCZodv0j_sB6WV1NYDTk\
    fXBv_rB-_SPODy2aYERaeFqQ7ZNMxiqI8BdQ0_cCmX-tyZ3C9v-VWfCvsCnzJH1kqTxxSBHQ\
    ";

/// One prime.
pub(super) const PRIME_1: &str = "\
    86j3Hyrgf_-ItLuHDPAVsa9SWr3I06BSZmnaw4DgybqRsqF1Mq2gnd2eidfQ2SdVX3nmX_NCiBhz-JewtYlTs41O5J\
    736Y8pfatWP_mkZ-tNqgf1Y2GCa2abSimNLsh-FnewuV4PwVCppFTRKrFMTWglXwlVTeh7w5h7-eDMO4U\
    ";

/// The other.
pub(super) const PRIME_2: &str = "\
    zgNzmcLBG1un4DOjUOOCRGRahmaJCHlQJsczl8Tnnw6Vjf13O7lTB8A7HeJAf5gjVuca1aMvTcchj5KQpJGk4BWYQj\
    sn9S8fpth5VjWo3XKYTf0mUYcx9ZIzWaQ6FME1lDAccGMAUvK9IAsk4M3jsOaSiEUY16yazCRU1tbOlQ8\
    ";

/// A modulus of 1024 bits.
pub(super) const WEAK_MODULUS: &str = "\
    tLwu-jvft2Ex_tHMxYcByAFvK_mcKi7WEi4DGhLn1UZ6YDQ054IfKzQa4OTCNMUjSJ9ez79JyzByjPwTmGTlXARKAm\
    lTiK-Rk10pxyWU_tLPchmg7cXFt5sZOgdoK8-kUPy_shryn-8BGlhmNAY_oM_a0hOkXkkPZPcxaFVM-aU\
    ";
